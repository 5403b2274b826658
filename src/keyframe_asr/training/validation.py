"""Error on the dev set during training: greedy, without the attention decoder's search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from kaldialign import edit_distance

from keyframe_asr.data.dataset import Batch
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.model.keyframes import select_keyframes
from keyframe_asr.model.network import Encoded, KeyframeNetwork
from keyframe_asr.training.divergence import check_finite, naming_utterances
from keyframe_asr.training.stages import StageObjective


@dataclass(frozen=True)
class Validation:
    """Measured on the dev set.

    Attributes:
        error: token errors of the greedy hypothesis of encoder 2's output per target token; of
            the inter-CTC where the stage has no loss on that output.
        inter_error: the same for the inter-CTC.
        loss: mean total loss of an utterance.
        keyframes_per_token: spikes of the inter-CTC per target token.
        frame_reduction: share of encoder frames that are no spike.
    """

    error: float
    inter_error: float
    loss: float
    keyframes_per_token: float
    frame_reduction: float


@torch.inference_mode()
def validate(
    objective: StageObjective, batches: Iterable[Batch], device: torch.device, stage: str
) -> Validation:
    """Evaluate the stage's network on all batches, without augmentation.

    Raises:
        TrainingError: a loss is not finite; names the utterances of the batch.
    """
    network = objective.network
    training = objective.training
    objective.eval()
    sums = _Sums()
    for batch in (one.to(device) for one in batches):
        with naming_utterances(stage, batch.ids):
            total, _, encoded = objective(
                batch.features,
                batch.feature_lengths,
                batch.tokens,
                batch.token_lengths,
                batch.pre_encoded,
            )
            if network.keyframes_enabled:  # the loss asks for as many keyframes as tokens
                encoded = network.encode(
                    batch.features, batch.feature_lengths, pre_encoded=batch.pre_encoded
                )
        check_finite("loss on the dev set", total, stage, batch.ids)
        sums.loss += float(total) * len(batch.ids)
        sums.keyframes += count_spikes(network, encoded)
        sums.add_errors(batch, encoded, objective)
    objective.train(training)
    return sums.means()


def count_spikes(network: KeyframeNetwork, encoded: Encoded) -> int:
    """Spikes of the inter-CTC: the keyframes there would be in recognition."""
    kept = select_keyframes(encoded.inter_log_probs, encoded.frame_lengths, network.policy)
    return int(kept.lengths.sum())


@dataclass
class _Sums:
    errors: int = 0
    inter_errors: int = 0
    tokens: int = 0
    utterances: int = 0
    keyframes: int = 0
    frames: int = 0
    loss: float = 0.0

    def add_errors(self, batch: Batch, encoded: Encoded, objective: StageObjective) -> None:
        network, losses = objective.network, objective.losses
        inter = greedy_ctc(encoded.inter_log_probs, encoded.frame_lengths)
        head = inter
        if losses.head > 0 and losses.head_loss != "none":
            greedy = greedy_aligned if network.keyframes_enabled else greedy_ctc
            head = greedy(encoded.head_log_probs, encoded.keyframes.lengths)
        for index, length in enumerate(batch.token_lengths.tolist()):
            target = batch.tokens[index, :length].tolist()
            self.errors += edit_distance(target, list(head[index].tokens))["total"]
            self.inter_errors += edit_distance(target, list(inter[index].tokens))["total"]
        self.utterances += len(batch.ids)
        self.tokens += int(batch.token_lengths.sum())
        self.frames += int(encoded.frame_lengths.sum())

    def means(self) -> Validation:
        return Validation(
            error=self.errors / max(1, self.tokens),
            inter_error=self.inter_errors / max(1, self.tokens),
            loss=self.loss / max(1, self.utterances),
            keyframes_per_token=self.keyframes / max(1, self.tokens),
            frame_reduction=1 - self.keyframes / max(1, self.frames),
        )
