"""Error on the dev set during training: greedy, without the attention decoder's search."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from kaldialign import edit_distance

from keyframe_asr.data.dataset import Batch
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.model.keyframes import select_keyframes
from keyframe_asr.model.network import KeyframeNetwork
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
def validate(objective: StageObjective, batches: Iterable[Batch], device: torch.device) -> Validation:
    """Evaluate the stage's network on all batches, without augmentation."""
    network = objective.network
    training = objective.training
    objective.eval()
    with_head = objective.losses.head > 0 and objective.losses.head_loss != "none"
    errors = inter_errors = tokens = utterances = keyframes = frames = 0
    loss = 0.0
    for batch in (one.to(device) for one in batches):
        total, _, _ = objective(
            batch.features, batch.feature_lengths, batch.tokens, batch.token_lengths
        )
        encoded = network.encode(batch.features, batch.feature_lengths)
        inter = greedy_ctc(encoded.inter_log_probs, encoded.frame_lengths)
        greedy = greedy_aligned if network.keyframes_enabled else greedy_ctc
        head = greedy(encoded.head_log_probs, encoded.keyframes.lengths) if with_head else inter
        for index, length in enumerate(batch.token_lengths.tolist()):
            target = batch.tokens[index, :length].tolist()
            errors += edit_distance(target, list(head[index].tokens))["total"]
            inter_errors += edit_distance(target, list(inter[index].tokens))["total"]
        utterances += len(batch.ids)
        loss += float(total) * len(batch.ids)
        tokens += int(batch.token_lengths.sum())
        frames += int(encoded.frame_lengths.sum())
        keyframes += _spikes(network, encoded.inter_log_probs, encoded.frame_lengths)
    objective.train(training)
    return Validation(
        error=errors / max(1, tokens),
        inter_error=inter_errors / max(1, tokens),
        loss=loss / max(1, utterances),
        keyframes_per_token=keyframes / max(1, tokens),
        frame_reduction=1 - keyframes / max(1, frames),
    )


def _spikes(
    network: KeyframeNetwork, log_probs: torch.Tensor, lengths: torch.Tensor
) -> int:
    return int(select_keyframes(log_probs, lengths, network.policy).lengths.sum())
