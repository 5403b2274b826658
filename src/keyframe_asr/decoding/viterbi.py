"""Where each token of a known text was said: the most probable CTC path (Viterbi).

Graves et al., 2006: a path has one label a frame; a text with n tokens has the 2n + 1 states
blank, y1, blank, ..., yn, blank, and a path may stay, go on by one state, or skip the blank between
two different tokens. All states of all utterances are advanced at once, frame by frame. Of equally
probable ways the one that stays is taken, then the one that goes on by one state.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_NEVER = -torch.inf


@dataclass(frozen=True)
class ForcedAlignment:
    """The most probable path of each utterance.

    Attributes:
        first: (B, N) frame at which each target's run of frames begins; 0 in the padding, and
            for an utterance that has no path.
        last: (B, N) the last frame of each run.
        peak: (B, N) the frame of each run at which its target is most probable.
        score: (B,) log-probability of the path; -inf where the targets need more frames.
    """

    first: Tensor
    last: Tensor
    peak: Tensor
    score: Tensor


@torch.no_grad()
def forced_alignment(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int = 0,
) -> ForcedAlignment:
    """Align targets with frames.

    Args:
        log_probs: (B, U, V) log-probabilities.
        targets: (B, N) ids without blank; padding may hold anything.
        input_lengths: (B,) frames per utterance.
        target_lengths: (B,) targets per utterance; 0 gives the path of blanks.
        blank: id of the blank.
    """
    batch, frames, vocabulary = log_probs.shape
    device = log_probs.device
    input_lengths, target_lengths = input_lengths.to(device), target_lengths.to(device)
    labels = _states(targets.to(device).clamp(0, vocabulary - 1), target_lengths, blank)
    states = labels.shape[1]
    emitted = log_probs.gather(2, labels[:, None].expand(batch, frames, states))
    may_skip = torch.zeros_like(labels, dtype=torch.bool)
    may_skip[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    # before the first frame: as if in a state before the first blank
    score = log_probs.new_full((batch, states), _NEVER)
    score[:, 0] = 0.0
    steps = torch.zeros(frames, batch, states, dtype=torch.int8, device=device)
    for frame in range(frames):
        ways = torch.stack([score, _shifted(score, 1), _shifted(score, 2)])
        ways[2].masked_fill_(~may_skip, _NEVER)
        best = ways.amax(dim=0)
        step = _first_best(ways, best)
        inside = (frame < input_lengths)[:, None]
        score = torch.where(inside, best + emitted[:, frame], score)
        steps[frame] = torch.where(inside, step, 0)
    state, total = _final(score, target_lengths)
    path = torch.empty(batch, frames, dtype=torch.long, device=device)
    for frame in reversed(range(frames)):
        path[:, frame] = state
        state = state - steps[frame].gather(1, state[:, None])[:, 0].long()
    inside = torch.arange(frames, device=device) < input_lengths[:, None]
    possible = inside & (total > _NEVER)[:, None]
    return ForcedAlignment(*_runs(path, emitted, possible, targets.shape[1]), total)


def _states(targets: Tensor, target_lengths: Tensor, blank: int) -> Tensor:
    """(B, 2N + 1) label of each state: blanks around every target, blanks as padding."""
    batch, count = targets.shape
    labels = targets.new_full((batch, 2 * count + 1), blank)
    padding = torch.arange(count, device=targets.device) >= target_lengths[:, None]
    labels[:, 1::2] = targets.masked_fill(padding, blank)
    return labels


def _shifted(score: Tensor, by: int) -> Tensor:
    """The score of the state that many places before."""
    shifted = torch.full_like(score, _NEVER)
    shifted[:, by:] = score[:, :-by] if by < score.shape[1] else _NEVER
    return shifted


def _first_best(ways: Tensor, best: Tensor) -> Tensor:
    """The lowest number of the ways that are best."""
    numbers = torch.arange(len(ways), device=ways.device)[:, None, None]
    return numbers.masked_fill(ways != best, len(ways)).amin(dim=0).to(torch.int8)


def _final(score: Tensor, target_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(B,) state of the last frame, the last target's or the blank after it, and its score."""
    blank = 2 * target_lengths[:, None]
    target = (blank - 1).clamp(min=0)
    ends = torch.cat([target, blank], dim=1)
    scores = score.gather(1, ends)
    is_blank = scores[:, 1] > scores[:, 0]
    chosen = is_blank.long()[:, None]
    return ends.gather(1, chosen)[:, 0], scores.gather(1, chosen)[:, 0]


def _runs(
    path: Tensor, emitted: Tensor, possible: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """First, last and most probable frame (B, N) of each target's run on paths (B, U)."""
    batch, frames = path.shape
    columns = torch.arange(frames, device=path.device).expand(batch, frames)
    on_target = possible & (path % 2 == 1)
    # what is on no target is collected behind the last
    owner = torch.where(on_target, path // 2, count)
    first = path.new_full((batch, count + 1), frames)
    first.scatter_reduce_(1, owner, columns, "amin")
    last = path.new_zeros(batch, count + 1)
    last.scatter_reduce_(1, owner, columns, "amax")
    heard = emitted.gather(2, path[..., None])[..., 0]
    best = heard.new_full((batch, count + 1), _NEVER).scatter_reduce(1, owner, heard, "amax")
    is_peak = heard == best.gather(1, owner)
    peak = path.new_full((batch, count + 1), frames)
    peak.scatter_reduce_(1, owner, columns.masked_fill(~is_peak, frames), "amin")
    seen = torch.zeros_like(first, dtype=torch.bool).scatter(1, owner, True)
    found = (one.masked_fill(~seen, 0)[:, :count] for one in (first, last, peak))
    return next(found), next(found), next(found)
