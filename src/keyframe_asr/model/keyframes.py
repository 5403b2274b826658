"""Keyframes: one encoder frame per spike of the inter-CTC, blanks and repeats dropped (KFDS).

Source: "End-to-end Speech Recognition with similar length speech and text" (arXiv 2510.10453),
keyframe-based down-sampling. Where the paper is silent, this is what is done:

* of each run of equal labels the most probable frame is kept (`peak`), or the `first`;
* blank may be decided by a threshold on its probability instead of by the arg-max;
* an utterance never loses all its frames: without a spike the least blank frame is kept;
* the caller may ask for a least number of keyframes; the missing ones are the least blank frames.

Works on any CTC log-probabilities; needs no labels. The derivation is in docs/math/keyframes.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from keyframe_asr.model.masks import length_mask, run_peaks


@dataclass(frozen=True)
class Keyframes:
    """Which frames of each utterance are kept.

    Attributes:
        index: (B, K) long, the kept frames in strictly ascending order; 0 past the length.
        lengths: (B,) long, keyframes of each utterance; 0 only for an utterance without frames.
            K is the largest of them, and at least 1.
    """

    index: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, K) bool, true where `index` holds a keyframe and false where it is padding."""
        return length_mask(self.lengths, self.index.shape[1])

    def gather(self, frames: Tensor) -> Tensor:
        """Take the keyframes out of `frames` (B, U, D): (B, K, D), zeros past the length.

        Differentiable with respect to `frames`.
        """
        return gather_frames(frames, self.index, self.mask)

    @classmethod
    def all_frames(cls, lengths: Tensor, frames: int) -> Keyframes:
        """Keep every frame: `lengths` (B,) of utterances padded to `frames` frames."""
        width = max(frames, 1)
        position = torch.arange(width, device=lengths.device)
        index = position.expand(lengths.shape[0], width)
        return cls(index.masked_fill(~length_mask(lengths, width), 0), lengths.long())


@dataclass(frozen=True)
class SelectionPolicy:
    """How keyframes are chosen.

    Attributes:
        keep: of a run of equal labels, keep the most probable frame (`peak`) or the `first`.
        blank_threshold: a frame is blank where the probability of blank exceeds this; `None`:
            where blank is the most probable label.
        blank: the label of blank.

    Raises:
        ValueError: a value outside its range.
    """

    keep: Literal["peak", "first"] = "peak"
    blank_threshold: float | None = None
    blank: int = 0

    def __post_init__(self) -> None:
        if self.keep not in ("peak", "first"):
            raise ValueError(f"keep must be 'peak' or 'first', found {self.keep!r}")
        if self.blank_threshold is not None and not 0 < self.blank_threshold < 1:
            raise ValueError(
                f"blank_threshold must lie between 0 and 1, found {self.blank_threshold}"
            )
        if self.blank < 0:
            raise ValueError(f"blank must be a label of the vocabulary, found {self.blank}")


DEFAULT_POLICY = SelectionPolicy()


def select_keyframes(
    log_probs: Tensor,
    lengths: Tensor,
    policy: SelectionPolicy = DEFAULT_POLICY,
    min_keyframes: Tensor | None = None,
) -> Keyframes:
    """Choose the keyframes of every utterance from CTC log-probabilities.

    Vectorised over batch and time, deterministic, without gradient; what an utterance gets
    depends neither on its padding nor on what it is batched with. The device is waited for once.

    Args:
        log_probs: (B, U, V) log-probabilities of the labels; anything past the length is ignored.
        lengths: (B,) frames of each utterance, 0 to U; without frames it gets no keyframes.
        policy: the rules of the choice.
        min_keyframes: (B,) keep at least as many frames (clamped to the utterance's length),
            filling up with the frames of lowest blank probability, the earliest of equals.

    Raises:
        ValueError: shapes that do not fit, lengths outside 0 to U, NaN or +inf within a length.
    """
    _check_shapes(log_probs, lengths, policy, min_keyframes)
    frames = log_probs.shape[1]
    lengths = lengths.long()
    inside = length_mask(lengths, frames)
    blank, score, label = _blank_and_best_label(log_probs.detach(), policy.blank)
    invalid = inside & ~((score < math.inf) & (blank < math.inf))

    spiking = inside & ~_is_blank(blank, score, policy.blank_threshold)
    starts = spiking & _differs_from_previous(label, spiking)
    kept = starts if policy.keep == "first" else _peaks(score, spiking, starts)
    required = torch.ones_like(lengths) if min_keyframes is None else min_keyframes.clamp(min=1)
    kept = kept | _least_blank(blank, inside & ~kept, required.minimum(lengths) - kept.sum(1))

    count = kept.sum(1)
    width = _checked_width(count, invalid, (lengths < 0) | (lengths > frames))
    position = torch.arange(frames, device=count.device).masked_fill(~kept, frames)
    index = position.sort(dim=1).values[:, :width]
    if frames == 0:
        index = count.new_zeros(count.shape[0], width)
    return Keyframes(index.masked_fill(~length_mask(count, width), 0), count)


def gather_frames(frames: Tensor, index: Tensor, mask: Tensor) -> Tensor:
    """Frames (B, U, D) at `index` (B, ...) where `mask` (B, ...) holds, else zeros: (B, ..., D).

    `index` may hold anything where `mask` does not. Rows are selected from the flattened batch,
    which copies whole frames instead of single numbers. Differentiable with respect to `frames`.
    """
    batch, count, dim = frames.shape
    if batch * count == 0:
        return frames.new_zeros(*index.shape, dim)
    first_row = count * torch.arange(batch, device=index.device)
    first_row = first_row.view(-1, *[1] * (index.dim() - 1))
    rows = index.masked_fill(~mask, 0) + first_row
    gathered = frames.reshape(batch * count, dim).index_select(0, rows.flatten())
    return gathered.view(*index.shape, dim).masked_fill(~mask.unsqueeze(-1), 0.0)


def _blank_and_best_label(log_probs: Tensor, blank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of blank, that of the best other label, and a number for that label."""
    others = log_probs[..., 1:]
    if blank > 0:
        others = torch.cat((log_probs[..., :blank], log_probs[..., blank + 1 :]), dim=-1)
    score, label = others.max(dim=-1)
    return log_probs[..., blank], score, label


def _is_blank(blank: Tensor, score: Tensor, threshold: float | None) -> Tensor:
    return blank >= score if threshold is None else blank > math.log(threshold)


def _differs_from_previous(label: Tensor, spiking: Tensor) -> Tensor:
    differs = torch.ones_like(spiking)
    differs[:, 1:] = (label[:, 1:] != label[:, :-1]) | ~spiking[:, :-1]
    return differs


def _peaks(score: Tensor, spiking: Tensor, starts: Tensor) -> Tensor:
    """The most probable frame of each run, the earliest of equals."""
    frames = score.shape[1]
    # Blanks in front of the first run are counted with it; they take no part in its maximum.
    run = (starts.cumsum(1) - 1).clamp(min=0)
    peaks = run_peaks(score, run, spiking, frames)
    return torch.arange(frames, device=score.device) == peaks.gather(1, run)


def _least_blank(blank: Tensor, candidates: Tensor, missing: Tensor) -> Tensor:
    """Of the candidates (B, U), the `missing` (B,) ones of least blank probability."""
    order = blank.masked_fill(~candidates, math.inf).argsort(dim=1, stable=True)
    rank = order.argsort(dim=1)
    return candidates & (rank < missing.unsqueeze(1))


def _checked_width(count: Tensor, invalid: Tensor, wrong: Tensor) -> int:
    """The number of columns K; all checks of values share this one wait for the device."""
    if count.shape[0] == 0:
        return 1
    width, any_invalid, any_wrong = torch.stack(
        (count.max(), invalid.any().long(), wrong.any().long())
    ).tolist()
    if any_wrong:
        places = wrong.nonzero().flatten().tolist()
        raise ValueError(f"lengths outside 0 to {invalid.shape[1]} at batch places {places}")
    if any_invalid:
        places = invalid.any(1).nonzero().flatten().tolist()
        raise ValueError(f"log_probs hold NaN or +inf in the utterances at batch places {places}")
    return max(int(width), 1)


def _check_shapes(
    log_probs: Tensor, lengths: Tensor, policy: SelectionPolicy, min_keyframes: Tensor | None
) -> None:
    if log_probs.dim() != 3 or not log_probs.is_floating_point():
        raise ValueError(
            "log_probs must be floating point (batch, frames, vocabulary), found "
            f"{log_probs.dtype} {tuple(log_probs.shape)}"
        )
    batch, _, vocabulary = log_probs.shape
    for name, value in (("lengths", lengths), ("min_keyframes", min_keyframes)):
        if value is not None and (value.shape != (batch,) or value.is_floating_point()):
            raise ValueError(
                f"{name} must be integers ({batch},) for this batch, found "
                f"{value.dtype} {tuple(value.shape)}"
            )
    if not policy.blank < vocabulary or vocabulary < 2:
        raise ValueError(f"blank {policy.blank} and another label must fit into {vocabulary}")
