"""Keyframe selection (KFDS): keep one encoder frame per CTC spike, drop blanks and repeats.

Source: keyframe-based down-sampling, "End-to-end Speech Recognition with similar length speech and
text" (arXiv 2510.10453). Details that the paper leaves open:

* Of each run of equal labels, the most probable frame is kept (`peak`), or the `first`.
* Blank is decided by arg-max, or by a threshold on its probability.
* An utterance keeps at least one frame: without a spike, the frame of lowest blank probability.
* The caller may require a minimum number of keyframes; they are filled up with the frames of lowest
  blank probability.

Works on any CTC log-probabilities and needs no labels. Derivation: docs/math/keyframes.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from keyframe_asr.model.masks import length_mask, run_peaks


@dataclass(frozen=True)
class Keyframes:
    """The kept frames of each utterance.

    Attributes:
        index: (B, K) long, the kept frames in strictly ascending order; 0 past the length.
        lengths: (B,) long, keyframes of each utterance; 0 only for an utterance without frames.
            K is the largest length, and at least 1.
    """

    index: Tensor
    lengths: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, K) bool, true where `index` holds a keyframe and false where it is padding."""
        return length_mask(self.lengths, self.index.shape[1])

    def gather(self, frames: Tensor) -> Tensor:
        """Gather the keyframes of `frames` (B, U, D): (B, K, D), zeros past the length.

        Differentiable with respect to `frames`.
        """
        return gather_frames(frames, self.index, self.mask)

    @classmethod
    def all_frames(cls, lengths: Tensor, frames: int) -> Keyframes:
        """Keep every frame of utterances of `lengths` (B,) padded to `frames` frames."""
        width = max(frames, 1)
        position = torch.arange(width, device=lengths.device)
        index = position.expand(lengths.shape[0], width)
        return cls(index.masked_fill(~length_mask(lengths, width), 0), lengths.long())


@dataclass(frozen=True)
class SelectionPolicy:
    """How keyframes are chosen.

    Attributes:
        keep: frame kept of a run of equal labels: the most probable (`peak`) or the `first`.
        blank_threshold: a frame is blank if the probability of blank exceeds this; None: if blank
            is the most probable label.
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
    lengths: Tensor | Sequence[int],
    policy: SelectionPolicy = DEFAULT_POLICY,
    min_keyframes: Tensor | Sequence[int] | None = None,
) -> Keyframes:
    """Select the keyframes of every utterance from CTC log-probabilities.

    Vectorised over batch and time, deterministic, without gradient, independent of padding and of
    the other utterances of the batch. Synchronises once with the device.

    Args:
        log_probs: (B, U, V) log-probabilities of the labels; values past the length are ignored.
        lengths: (B,) frames of each utterance, 0 to U, a tensor, list or tuple; 0 frames yield no
            keyframes.
        policy: the selection rules.
        min_keyframes: (B,) minimum number of keyframes (clamped to the utterance's length), filled
            up with the frames of lowest blank probability, the earliest first in a tie.

    Raises:
        ValueError: shapes do not match, lengths are outside 0 to U, or `log_probs` contain NaN or
            +inf within a length.
    """
    lengths = _as_tensor(lengths, log_probs)
    if min_keyframes is not None:
        min_keyframes = _as_tensor(min_keyframes, log_probs)
    _check_shapes(log_probs, lengths, policy, min_keyframes)
    frames = log_probs.shape[1]
    kept, invalid = _kept_frames(log_probs, lengths.long(), policy, min_keyframes)
    count = kept.sum(1)
    width = _checked_width(count, invalid, (lengths < 0) | (lengths > frames))
    position = torch.arange(frames, device=count.device).masked_fill(~kept, frames)
    index = position.sort(dim=1).values[:, :width]
    if frames == 0:
        index = count.new_zeros(count.shape[0], width)
    return Keyframes(index.masked_fill(~length_mask(count, width), 0), count)


def count_keyframes(
    log_probs: Tensor, lengths: Tensor | Sequence[int], policy: SelectionPolicy = DEFAULT_POLICY
) -> Tensor:
    """Number (B,) of the keyframes that `select_keyframes` would select.

    Does not synchronise with the device, and so does not check the numbers.

    Args:
        log_probs: (B, U, V), as in `select_keyframes`.
        lengths: (B,) frames of each utterance.
        policy: the selection rules.

    Raises:
        ValueError: shapes do not match.
    """
    lengths = _as_tensor(lengths, log_probs)
    _check_shapes(log_probs, lengths, policy, None)
    return _kept_frames(log_probs, lengths.long(), policy, None)[0].sum(1)


def ready_frames(
    log_probs: Tensor,
    lengths: Tensor,
    keyframes: Keyframes,
    policy: SelectionPolicy | None,
    last_offset: int,
) -> Tensor:
    """The frame (B, K) with which each keyframe is ready for encoder 2, if frames come in turn.

    It is when it is certain, and the frames that fusion takes around it are there. The first frame
    of a run is certain at once, its peak with the frame after the run. What is ready only because
    the utterance ends, is with the frame after its last.

    Args:
        log_probs: (B, U, V) that the keyframes were selected from.
        lengths: (B,) frames of each utterance.
        keyframes: of each utterance; those that are no spikes count as certain at once.
        policy: the selection rules; None: all frames are kept.
        last_offset: of the frames that are fused.
    """
    ready = keyframes.index + last_offset
    if policy is not None and policy.keep == "peak":
        frames = log_probs.shape[1]
        blank, score, label = _blank_and_best_label(log_probs.detach(), policy.blank)
        spiking = length_mask(lengths, frames) & ~_is_blank(blank, score, policy.blank_threshold)
        ends = ~spiking | _differs_from_previous(label, spiking)  # a run before this frame
        place = torch.arange(frames, device=ends.device).masked_fill(~ends, frames)
        next_end = pad(place.flip(1).cummin(dim=1).values.flip(1), (0, 1), value=frames)
        certain = next_end.gather(1, keyframes.index + 1)
        ready = ready.maximum(certain.where(spiking.gather(1, keyframes.index), ready))
    return ready.minimum(lengths.unsqueeze(1))


def gather_frames(frames: Tensor, index: Tensor, mask: Tensor) -> Tensor:
    """Frames (B, U, D) at `index` (B, ...) where `mask` (B, ...) holds, else zeros: (B, ..., D).

    `index` may have any value where `mask` is False. Rows are selected from the flattened batch,
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


def distinct_frames(
    places: Tensor, inside: Tensor, size: int, most: int | None = None
) -> tuple[Tensor, Tensor]:
    """The frames (B, M) that occur among `places`, ascending and each once, and which are real.

    Args:
        places: (B, ...) frame indices below `size` where `inside` (B, ...) holds.
        inside: the mask of the places that count.
        size: number of frames.
        most: M; None: the largest number of distinct frames, at least 1, which synchronises.
    """
    batch = len(places)
    seen = torch.zeros(batch, size + 1, dtype=torch.bool, device=places.device)
    seen = seen.scatter(1, places.masked_fill(~inside, size).flatten(1), True)[:, :size]
    if most is None:
        most = max(1, int(seen.sum(dim=1).max())) if batch else 1
    index = (~seen).int().argsort(dim=1, stable=True)[:, :most]
    return index, seen.gather(1, index)


def _kept_frames(
    log_probs: Tensor, lengths: Tensor, policy: SelectionPolicy, min_keyframes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Masks (B, U) of the frames that are kept, and of those with numbers that decide nothing."""
    inside = length_mask(lengths, log_probs.shape[1])
    blank, score, label = _blank_and_best_label(log_probs.detach(), policy.blank)
    invalid = inside & ~((score < math.inf) & (blank < math.inf))

    spiking = inside & ~_is_blank(blank, score, policy.blank_threshold)
    starts = spiking & _differs_from_previous(label, spiking)
    kept = starts if policy.keep == "first" else _peaks(score, spiking, starts)
    required = torch.ones_like(lengths) if min_keyframes is None else min_keyframes.clamp(min=1)
    missing = required.minimum(lengths) - kept.sum(1)
    return kept | _least_blank(blank, inside & ~kept, missing), invalid


def _as_tensor(integers: Tensor | Sequence[int], like: Tensor) -> Tensor:
    if isinstance(integers, Tensor):
        return integers
    return torch.as_tensor(integers, device=like.device)


def _blank_and_best_label(log_probs: Tensor, blank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of blank, log-probability of the best other label, and its index."""
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
    """Mask of the most probable frame of each run, the earliest in a tie."""
    frames = score.shape[1]
    # Blanks before the first run are assigned to it, but excluded from its maximum.
    run = (starts.cumsum(1) - 1).clamp(min=0)
    peaks = run_peaks(score, run, spiking, frames)
    return torch.arange(frames, device=score.device) == peaks.gather(1, run)


def _least_blank(blank: Tensor, candidates: Tensor, missing: Tensor) -> Tensor:
    """Mask of the `missing` (B,) candidates (B, U) of lowest blank probability."""
    order = blank.masked_fill(~candidates, math.inf).argsort(dim=1, stable=True)
    rank = order.argsort(dim=1)
    return candidates & (rank < missing.unsqueeze(1))


def _checked_width(count: Tensor, invalid: Tensor, wrong: Tensor) -> int:
    """The number of columns K; all value checks share this one synchronisation."""
    if count.shape[0] == 0:
        return 1
    width, any_invalid, any_wrong = torch.stack(
        (count.max(), invalid.any().long(), wrong.any().long())
    ).tolist()
    if any_wrong:
        places = wrong.nonzero().flatten().tolist()
        raise ValueError(f"lengths outside 0 to {invalid.shape[1]} at batch indices {places}")
    if any_invalid:
        places = invalid.any(1).nonzero().flatten().tolist()
        raise ValueError(f"log_probs contain NaN or +inf at batch indices {places}")
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
        raise ValueError(
            f"blank {policy.blank} and at least one other label must fit into a vocabulary of "
            f"{vocabulary}"
        )
