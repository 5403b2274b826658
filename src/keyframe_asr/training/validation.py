"""Evaluation on the dev set during training, and criteria to end or abort a stage.

Decoding is greedy and does not use the attention decoder, unless a stage trains a pretrained one
alone: nothing else changes then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
import torch
from kaldialign import edit_distance

from keyframe_asr.config.recipe import StageConfig
from keyframe_asr.data.dataset import Batch
from keyframe_asr.data.decoder_targets import IGNORED, text_begins
from keyframe_asr.decoding.beam import BeamConfig, Symbols, attention_beam
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.errors import TrainingError
from keyframe_asr.inference.decoder_search import FURTHER_TOKENS, TOKENS_PER_KEYFRAME
from keyframe_asr.inference.torch_network import TorchDecoder, arrays
from keyframe_asr.losses.axe import axe_align
from keyframe_asr.model.encoded import Encoded
from keyframe_asr.model.keyframes import count_keyframes
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.batch_results import check_finite, unusable
from keyframe_asr.training.memory import SMALLER_DEV_BATCHES, naming_batch
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.precision import half_precision

DECODED_UTTERANCES = 100
"""A pretrained decoder writes about as many utterances in each process: it is slow."""


@dataclass(frozen=True)
class Validation:
    """Measurements on the dev set; all of them are fractions, except for the loss.

    Attributes:
        error: token errors of greedy decoding of encoder 2's output per target token; of the
            inter-CTC if the stage has no loss on that output; of the decoder, in its tokens, on
            some of the utterances, if the stage trains a pretrained decoder alone.
        inter_error: token errors of greedy decoding of the inter-CTC per target token.
        loss: mean total loss per utterance.
        keyframes_per_token: spikes of the inter-CTC per target token.
        frame_reduction: fraction of encoder frames that are not a spike.
        too_few_keyframes: fraction of utterances with fewer spikes than target tokens.
        aligned_targets: with AXE, fraction of target tokens aligned to a keyframe.
        doubled_targets: with AXE, fraction of target tokens skipped at a keyframe that is aligned
            to another target.
        skipped_targets: with AXE, fraction of target tokens skipped at a keyframe that is aligned
            to none.
    """

    error: float
    inter_error: float
    loss: float
    keyframes_per_token: float
    frame_reduction: float
    too_few_keyframes: float = 0.0
    aligned_targets: float | None = None
    doubled_targets: float | None = None
    skipped_targets: float | None = None


@torch.inference_mode()
def validate(
    objective: StageObjective,
    batches: Iterable[Batch],
    stage: str,
    add_up: Callable[[dict[str, float]], dict[str, float]] = dict,
    half: torch.dtype | None = None,
) -> Validation:
    """Evaluate the network of a stage on all batches.

    Args:
        objective: network with the losses of the stage.
        batches: batches of this process, on its device.
        stage: name of the stage, for errors.
        add_up: sums values over all processes.
        half: data type of matrix products; None: float32.

    Raises:
        TrainingError: a loss is not finite; the message names the utterances.
    """
    network = objective.network
    training = objective.training
    objective.eval()
    sums = _Sums()
    for batch in batches:
        try:
            with (
                half_precision(batch.features.device, half),
                naming_batch(batch, stage, SMALLER_DEV_BATCHES),
            ):
                frames = objective.encode_frames(batch)
                total, _, encoded = objective(batch, frames)
                sums.add_alignment(batch, encoded, objective)
                if network.keyframes_enabled:  # the loss needs at least as many as tokens
                    encoded = network.encode_keyframes(frames)
        except ValueError as error:
            raise unusable(stage, batch.ids, error) from error
        check_finite("loss on the dev set", float(total), stage, batch.ids)
        sums.loss += float(total) * len(batch.ids)
        sums.add_keyframes(batch, encoded, network)
        sums.add_errors(batch, encoded, objective)
        if objective.trains_decoder_alone and sums.decoded < DECODED_UTTERANCES:
            with half_precision(batch.features.device, half):
                sums.add_decoder_errors(batch, encoded, network)
    objective.train(training)
    return _Sums(**add_up(asdict(sums))).means()


def inter_ctc_is_ready(stage: StageConfig, validation: Validation) -> bool:
    """True if the inter-CTC fulfils `ends_when` of the stage, so that the stage can end."""
    bounds = stage.ends_when
    if bounds is None:
        return False
    low, high = bounds.keyframes_per_token
    return (
        validation.inter_error <= bounds.inter_error
        and low <= validation.keyframes_per_token <= high
    )


def count_collapsed(stage: StageConfig, validation: Validation, before: int) -> int:
    """Count consecutive evaluations whose error indicates a collapse, given the count `before`.

    The keyframe stage collapses without a loss on encoder 2's output (arXiv 2510.10453: CER above
    80 %), and may collapse if the inter-CTC is not ready.
    """
    bound = stage.collapse
    if not stage.keyframes or stage.trains_decoder_alone:
        return 0
    if bound is None or validation.error <= bound.error:
        return 0
    return before + 1


def check_collapse(stage: StageConfig, evaluations: int) -> None:
    """Raise `TrainingError` after too many consecutive collapsed `evaluations`."""
    bound = stage.collapse
    if stage.keyframes and bound is not None and evaluations >= bound.evaluations:
        raise TrainingError(
            f"stage '{stage.name}' has collapsed: the dev error was above {bound.error:.0%} in "
            f"{evaluations} consecutive evaluations; train the previous stage longer, keep a loss "
            "on the head, lower the learning rate, or set collapse: null to continue anyway"
        )


@dataclass
class _Sums:
    errors: float = 0
    inter_errors: float = 0
    tokens: float = 0
    utterances: float = 0
    keyframes: float = 0
    too_few: float = 0
    frames: float = 0
    loss: float = 0
    axe_targets: float = 0
    axe_aligned: float = 0
    axe_doubled: float = 0
    decoded: float = 0
    decoder_errors: float = 0
    decoder_tokens: float = 0

    def add_errors(self, batch: Batch, encoded: Encoded, objective: StageObjective) -> None:
        network, losses = objective.network, objective.losses
        inter = greedy_ctc(arrays(encoded.inter_log_probs), arrays(encoded.frame_lengths))
        head = inter
        if losses.head > 0 and losses.head_loss != "none":
            greedy = greedy_aligned if network.keyframes_enabled else greedy_ctc
            head = greedy(arrays(encoded.head_log_probs), arrays(encoded.keyframes.lengths))
        for index, length in enumerate(batch.token_lengths.tolist()):
            target = batch.tokens[index, :length].tolist()
            self.errors += edit_distance(target, list(head[index].tokens))["total"]
            self.inter_errors += edit_distance(target, list(inter[index].tokens))["total"]
        self.utterances += len(batch.ids)
        self.tokens += int(batch.token_lengths.sum())
        self.frames += int(encoded.frame_lengths.sum())

    def add_decoder_errors(self, batch: Batch, encoded: Encoded, network: KeyframeNetwork) -> None:
        """Count the errors of a pretrained decoder, which writes greedily after each prompt."""
        decoder = network.pretrained_decoder
        if decoder is None or batch.decoder_tokens is None:
            return
        targets = batch.decoder_tokens.tolist()
        first = text_begins(batch.decoder_tokens[:, 1])
        rows: dict[tuple[int, ...], list[int]] = {}
        for row, (read, _) in enumerate(targets):
            rows.setdefault(tuple(read[: first + 1]), []).append(row)
        for prompt, places in rows.items():
            written = [targets[row][1][first:] for row in places]
            texts = [[token for token in row if token != IGNORED] for row in written]
            chosen = encoded.rows(torch.tensor(places, device=encoded.memory.device))
            keyframes = arrays(chosen.keyframes.lengths)
            limits = np.minimum(
                TOKENS_PER_KEYFRAME * keyframes + FURTHER_TOKENS, decoder.longest - len(prompt)
            )
            limits[arrays(chosen.attended[1]) == 0] = 0
            config = BeamConfig(1, symbols=Symbols(prompt, texts[0][-1], ()))
            found = attention_beam(TorchDecoder(decoder, *chosen.attended), limits, config)
            for text, one in zip(texts, found, strict=True):
                self.decoder_errors += edit_distance(text[:-1], list(one.tokens))["total"]
                self.decoder_tokens += len(text) - 1
        self.decoded += len(batch.ids)

    def add_keyframes(self, batch: Batch, encoded: Encoded, network: KeyframeNetwork) -> None:
        kept = count_keyframes(encoded.inter_log_probs, encoded.frame_lengths, network.policy)
        self.keyframes += int(kept.sum())
        self.too_few += int((kept < batch.token_lengths).sum())

    def add_alignment(self, batch: Batch, encoded: Encoded, objective: StageObjective) -> None:
        """Count how AXE aligns the keyframes of training, at least as many as target tokens."""
        losses = objective.losses
        if losses.head_loss != "axe" or losses.head == 0:
            return
        found = axe_align(
            encoded.head_log_probs,
            batch.tokens,
            encoded.keyframes.lengths,
            batch.token_lengths,
            skip_target_penalty=losses.skip_target_penalty,
        )
        real = found.position >= 0
        shared = found.prediction_aligned.gather(1, found.position.clamp(min=0))
        self.axe_targets += int(real.sum())
        self.axe_aligned += int((real & ~found.skipped).sum())
        self.axe_doubled += int((real & found.skipped & shared).sum())

    def means(self) -> Validation:
        alignment: tuple[float, float, float] | tuple[None, None, None] = (None, None, None)
        if self.axe_targets:
            aligned, doubled = (
                one / self.axe_targets for one in (self.axe_aligned, self.axe_doubled)
            )
            alignment = aligned, doubled, max(0.0, 1 - aligned - doubled)
        error = self.errors / max(1, self.tokens)
        if self.decoded:
            error = self.decoder_errors / max(1, self.decoder_tokens)
        return Validation(
            error,
            self.inter_errors / max(1, self.tokens),
            self.loss / max(1, self.utterances),
            self.keyframes / max(1, self.tokens),
            1 - self.keyframes / max(1, self.frames),
            self.too_few / max(1, self.utterances),
            *alignment,
        )
