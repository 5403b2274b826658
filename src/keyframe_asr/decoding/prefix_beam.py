"""Prefix beam search over the columns of a CTC or a length head (Hannun et al., arXiv 1408.2873).

The probabilities of paths that spell the same tokens are summed. CTC collapses repeats, a length
head (AXE or TIL) does not. All hypotheses of the batch are one set of tensors; the only loop is
over columns.

Deviations: prefixes are compared by a 64-bit hash (one collision is expected in 10^10 utterances).
Only the best labels of each column are tried, at least twice the beam size. Without fusion this is
exact: a prefix has at most `size` better extensions, and at most `size` are already in the beam.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.viterbi import Columns, best_paths
from keyframe_asr.text.tokenizer import BLANK, END

FEWEST_LABELS = 20
"""Minimum number of labels tried per column: fusion may prefer labels the network does not."""

ROUNDING = 1e-3
"""Tolerance (natural log) for rounding errors in the pruning bound."""

_MULTIPLIER = 0x5851F42D4C957F2D
_NO_FUSION = ShallowFusion()


@dataclass(frozen=True)
class _Beams:
    """The prefixes of all utterances; unused entries have probability zero.

    Attributes:
        blank: (B, S) log-probability of the paths that end in blank.
        token: (B, S) log-probability of the paths that end in the last token.
        last: (B, S) last token, `BLANK` for the empty prefix.
        prefix: (B, S) hash of the tokens.
        external: (B, S) score added by fusion.
        states: (B, S, W) states of fusion.
    """

    blank: Tensor
    token: Tensor
    last: Tensor
    prefix: Tensor
    external: Tensor
    states: Tensor

    @property
    def total(self) -> Tensor:
        return torch.logaddexp(self.blank, self.token)


@dataclass(frozen=True)
class _Column:
    """One column (B, V), its best labels with log-probabilities (B, C), and its mask (B, 1)."""

    log_probs: Tensor
    best: Tensor
    labels: Tensor
    active: Tensor


@torch.inference_mode()
def prefix_beam(
    source: Columns, size: int, fusion: ShallowFusion = _NO_FUSION, *, timed: bool = True
) -> list[list[Hypothesis]]:
    """Find the n-best hypotheses of a CTC or a length head.

    Args:
        source: log-probabilities of B utterances; no columns yield one empty hypothesis.
        size: beam size and maximum number of hypotheses returned.
        fusion: scorers added to the search, on the device of `source`.
        timed: find positions and confidences, too.

    Returns:
        The hypotheses of each utterance, best first, with summed scores; ties in any order.
    """
    log_probs, lengths = source.log_probs, source.lengths.to(source.log_probs.device)
    batch, columns, vocabulary = log_probs.shape
    valid = torch.arange(columns, device=lengths.device) < lengths.unsqueeze(1)
    log_probs = log_probs.float().masked_fill(~valid.unsqueeze(2), 0.0)
    tried = min(max(2 * size, FEWEST_LABELS), vocabulary - 2)
    best, labels = _labels_only(log_probs).topk(tried, dim=2)
    beams = _begin(batch, size, fusion, log_probs.device)
    parents, tokens = [], []
    for at in range(columns):
        column = _Column(log_probs[:, at], best[:, at], labels[:, at], valid[:, at : at + 1])
        beams, parent, token = _advance(beams, column, fusion, source.collapse)
        parents.append(parent)
        tokens.append(token)
    spelled, counts = _spell(parents, tokens, batch, size, log_probs.device)
    timing = Columns(log_probs, lengths, source.collapse) if timed else None
    return _ranked(beams, spelled, counts, fusion, timing)


def _labels_only(log_probs: Tensor) -> Tensor:
    """Mask blank and end of sentence, which are not labels of a first pass."""
    special = torch.zeros(log_probs.shape[2], dtype=torch.bool, device=log_probs.device)
    special[BLANK] = special[END] = True
    return log_probs.masked_fill(special, -torch.inf)


def _begin(batch: int, size: int, fusion: ShallowFusion, device: torch.device) -> _Beams:
    """The empty prefix; all other beam entries have probability zero."""
    impossible = torch.full((batch, size), -torch.inf, device=device)
    blank = impossible.clone()
    blank[:, 0] = 0.0
    start = torch.tensor(fusion.start, dtype=torch.long, device=device)
    return _Beams(
        blank=blank,
        token=impossible,
        last=torch.full((batch, size), BLANK, device=device),
        prefix=torch.zeros(batch, size, dtype=torch.long, device=device),
        external=torch.zeros(batch, size, device=device),
        states=start.expand(batch, size, -1),
    )


def _advance(
    beams: _Beams, column: _Column, fusion: ShallowFusion, collapse: bool
) -> tuple[_Beams, Tensor, Tensor]:
    """Process one column; return the beams, the parent (B, S) of each and the token it added.

    A prefix that is not extended adds `BLANK`. Utterances past their length do not change. All
    `size` prefixes may stay, so an extension must exceed the worst of them. For this, the network
    has to assign it at least `needed`; in most columns of a CTC no label reaches that.
    """
    size, tried = beams.last.shape[1], column.labels.shape[1]
    child = _is_child(beams)
    blank, token = _stay(beams, column, child, collapse)
    staying = torch.logaddexp(blank, token)
    bound = beams.external + fusion.upper_bound(beams.states.flatten(0, 1)).view_as(beams.external)
    needed = (staying + beams.external).amin(dim=1, keepdim=True) - bound - ROUNDING
    if ((beams.total + column.best[:, :1] < needed) | ~column.active).all():
        places = torch.arange(size, device=blank.device).expand_as(blank)
        return replace(beams, blank=blank, token=token), places, torch.full_like(places, BLANK)
    longer = _grow(beams, column, child, collapse)
    longer, added, states = _fused(beams, column.labels, longer, needed, fusion)
    external = beams.external.unsqueeze(2) + added
    totals = torch.cat((staying, longer.flatten(1)), dim=1)
    extra = torch.cat((beams.external, external.flatten(1)), dim=1)
    chosen = (totals + extra).topk(size, dim=1).indices
    stays = chosen < size
    grown = (chosen - size).clamp(min=0)
    parent = torch.where(stays, chosen, grown // tried)
    label = column.labels.gather(1, grown % tried)
    stayed = chosen.clamp(max=size - 1)
    log_prob = totals.gather(1, chosen)
    kept = torch.where(stays, token.gather(1, stayed), log_prob)
    prefix = beams.prefix.gather(1, parent)
    prefix = torch.where(stays, prefix, _extended(prefix, label))
    return (
        _Beams(
            blank=torch.where(stays, blank.gather(1, stayed), -torch.inf),
            token=kept,
            last=torch.where(stays, beams.last.gather(1, parent), label),
            prefix=prefix,
            external=extra.gather(1, chosen),
            states=_next_states(beams.states, states, parent, grown, stays),
        ),
        parent,
        torch.where(stays, BLANK, label),
    )


def _extended(prefix: Tensor, token: Tensor) -> Tensor:
    """Hash of prefixes with one more token."""
    return (prefix ^ (prefix >> 31)) * _MULTIPLIER + token + 1


def _is_child(beams: _Beams) -> Tensor:
    """(B, S, S) True where the second prefix is the first extended by one token."""
    wanted = _extended(beams.prefix.unsqueeze(2), beams.last.unsqueeze(1))
    possible = ~beams.total.isneginf()
    return (wanted == beams.prefix.unsqueeze(1)) & possible.unsqueeze(1) & possible.unsqueeze(2)


def _stay(beams: _Beams, column: _Column, child: Tensor, collapse: bool) -> tuple[Tensor, Tensor]:
    """Log-probabilities (B, S) of the prefixes after the column, ending in blank and in a token.

    A prefix is also reached from its parent, if the parent is in the beam.
    """
    emitted = column.log_probs.gather(1, beams.last)
    blank = beams.total + column.log_probs[:, BLANK : BLANK + 1]
    before = beams.total.unsqueeze(2)
    if collapse:  # a repeated token needs a blank in between
        repeated = beams.last.unsqueeze(2) == beams.last.unsqueeze(1)
        before = torch.where(repeated, beams.blank.unsqueeze(2), before)
    token = before.masked_fill(~child, -torch.inf).amax(dim=1) + emitted
    if collapse:
        again = (beams.token + emitted).masked_fill(beams.last == BLANK, -torch.inf)
        token = torch.logaddexp(token, again)
    return (
        torch.where(column.active, blank, beams.blank),
        torch.where(column.active, token, beams.token),
    )


def _grow(beams: _Beams, column: _Column, child: Tensor, collapse: bool) -> Tensor:
    """Log-probabilities (B, S, C) of extensions by one label that are not yet in the beam."""
    labels = column.labels.unsqueeze(1)
    before = beams.total.unsqueeze(2)
    if collapse:
        repeated = labels == beams.last.unsqueeze(2)
        before = torch.where(repeated, beams.blank.unsqueeze(2), before)
    present = (labels.unsqueeze(3) == beams.last[:, None, None, :]) & child.unsqueeze(2)
    impossible = present.any(dim=3) | ~column.active.unsqueeze(2)
    return (before + column.best.unsqueeze(1)).masked_fill(impossible, -torch.inf)


def _fused(
    beams: _Beams, labels: Tensor, longer: Tensor, needed: Tensor, fusion: ShallowFusion
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply fusion: log-probabilities and added scores (B, S, C), and states (B, S, C, W).

    Extensions below `needed` (B, S) cannot enter the beam; fusion is not computed for them.
    """
    states = beams.states.unsqueeze(2).expand(*longer.shape, -1)
    if not fusion.scorers:
        return longer, torch.full_like(longer, fusion.token_bonus), states
    hopeful = (longer >= needed.unsqueeze(2)) & ~longer.isneginf()
    added, states = torch.zeros_like(longer), states.clone()
    rows = hopeful.nonzero(as_tuple=True)
    tokens = labels.unsqueeze(1).expand_as(longer)[rows]
    added[rows], states[rows] = fusion.extend(states[rows], tokens)
    return longer.masked_fill(~hopeful, -torch.inf), added, states


def _next_states(
    before: Tensor, after: Tensor, parent: Tensor, grown: Tensor, stays: Tensor
) -> Tensor:
    width = before.shape[2]
    kept = before.gather(1, parent.unsqueeze(2).expand(-1, -1, width))
    moved = after.flatten(1, 2).gather(1, grown.unsqueeze(2).expand(-1, -1, width))
    return torch.where(stays.unsqueeze(2), kept, moved)


def _spell(
    parents: list[Tensor], tokens: list[Tensor], batch: int, size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Tokens (B, S, L) and token counts (B, S) of the final beams, traced back by parents."""
    place = torch.arange(size, device=device).expand(batch, -1)
    emitted = [torch.empty(batch, size, 0, dtype=torch.long, device=device)]
    for parent, token in zip(reversed(parents), reversed(tokens), strict=True):
        emitted.append(token.gather(1, place).unsqueeze(2))
        place = parent.gather(1, place)
    path = torch.cat(emitted[::-1], dim=2)
    is_token = path != BLANK
    counts = is_token.sum(dim=2)
    order = is_token.to(torch.int8).argsort(dim=2, descending=True, stable=True)
    longest = int(counts.max()) if counts.numel() else 0
    return path.gather(2, order)[:, :, :longest], counts


def _ranked(
    beams: _Beams,
    spelled: Tensor,
    counts: Tensor,
    fusion: ShallowFusion,
    source: Columns | None,
) -> list[list[Hypothesis]]:
    """The prefixes of nonzero probability as hypotheses, best first, with positions in `source`."""
    batch, size = beams.last.shape
    ending = fusion.finish(beams.states.flatten(0, 1)).view(batch, size)
    external = beams.external + ending
    scores = beams.total + external
    scores = scores.masked_fill(beams.total.isneginf(), -torch.inf)
    order = scores.argsort(dim=1, descending=True, stable=True)
    row, rank = (~scores.gather(1, order).isneginf()).nonzero(as_tuple=True)
    place = order[row, rank]
    tokens, numbers = spelled[row, place], counts[row, place]
    columns = sure = tokens[:, :0]
    if source is not None:
        columns = best_paths(source, tokens, numbers, row).positions
        if tokens.numel():
            sure = source.log_probs[row.unsqueeze(1), columns, tokens].exp()
    results: list[list[Hypothesis]] = [[] for _ in range(batch)]
    values = (row, numbers, tokens, scores[row, place], columns, sure, external[row, place])
    for owner, count, ids, score, found, confidences, added in zip(
        *(value.tolist() for value in values), strict=True
    ):
        results[owner].append(
            Hypothesis(
                tokens=tuple(ids[:count]),
                score=score,
                positions=tuple(found[:count]),
                confidences=tuple(confidences[:count]),
                external=added,
            )
        )
    return results
