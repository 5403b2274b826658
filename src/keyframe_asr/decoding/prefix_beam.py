"""Prefix beam search over the columns of a CTC or a length head (Hannun et al., arXiv 1408.2873).

The probabilities of paths that spell the same tokens are summed. CTC collapses repeats, a length
head (AXE or TIL) does not. All hypotheses of the batch are one set of arrays; the only loop is over
columns. In most columns of a CTC no label can enter a beam, so the prefixes stay and only their
probabilities change: that takes a few operations for the whole batch. The others are searched in
the utterances where a label can enter, and only with these labels.

Deviations: prefixes are compared by a 64-bit hash (one collision is expected in 10^10 utterances).
Only the best labels of each column are tried, at least twice the beam size. Without fusion this is
exact: a prefix has at most `size` better extensions, and at most `size` are already in the beam.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from keyframe_asr.decoding.arrays import Bools, Floats, Integers
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.viterbi import Columns, best_paths
from keyframe_asr.text.tokenizer import BLANK, END

FEWEST_LABELS = 20
"""Minimum number of labels tried per column: fusion may prefer labels the network does not."""

ROUNDING = 1e-3
"""Tolerance (natural log) for rounding errors in the pruning bound."""

_Labels: TypeAlias = tuple[Integers, Integers, Floats]
"""Index (N,) into the rows that are searched, ascending, label and log-probability."""

_MULTIPLIER, _NO_PREFIX = np.int64(0x5851F42D4C957F2D), np.int64(0x1E3779B97F4A7C15)
_BLANK, _TOKEN, _EXTERNAL = range(3)
_LAST, _NODE, _PREFIX, _SHORTER, _STATES = range(5)
_NO_FUSION = ShallowFusion()


def prefix_beam(
    source: Columns, size: int, fusion: ShallowFusion = _NO_FUSION, *, timed: bool = True
) -> list[list[Hypothesis]]:
    """Find the n-best hypotheses of a CTC or a length head.

    Args:
        source: log-probabilities of B utterances; no columns yield one empty hypothesis.
        size: beam size and maximum number of hypotheses returned.
        fusion: scorers added to the search.
        timed: find positions and confidences, too.

    Returns:
        The hypotheses of each utterance, best first, with summed scores; ties in any order.
    """
    search = _Search(source, size, fusion)
    for column in range(int(source.lengths.max(initial=0))):
        search.advance(column)
    return search.hypotheses(timed)


@dataclass
class _Beams:
    """The prefixes of B utterances; unused entries have probability zero.

    Attributes:
        floats: (B, S, 3) log-probability of the paths that end in blank, and of those that end in
            the last token; score added by fusion.
        integers: (B, S, 4 + W) last token, `BLANK` for the empty prefix; node of the prefix in the
            tree of all prefixes; hash of the tokens; hash without the last; states of fusion.
        total: (B, S) log-probability of all paths.
        bound: (B, S) upper bound of the score added by fusion, with one more token.
        parent: (B, S) place of the prefix without its last token, -1 if it is not in the beam.
        repeats: (B, S) True if the last two tokens are equal, for those with a parent.
    """

    floats: Floats
    integers: Integers
    total: Floats
    bound: Floats
    parent: Integers
    repeats: Bools

    @classmethod
    def empty(cls, batch: int, size: int, fusion: ShallowFusion) -> _Beams:
        """The empty prefix; all other beam entries have probability zero."""
        floats = np.full((batch, size, 3), -np.inf)
        floats[:, 0, _BLANK] = 0.0
        floats[:, :, _EXTERNAL] = 0.0
        entry = np.array((BLANK, 0, 0, _NO_PREFIX, *fusion.start))
        states = np.tile(entry[_STATES:], (batch * size, 1))
        return cls(
            floats,
            integers=np.tile(entry, (batch, size, 1)),
            total=floats[:, :, _BLANK].copy(),
            bound=fusion.upper_bound(states).reshape(batch, size),
            parent=np.full((batch, size), -1),
            repeats=np.zeros((batch, size), dtype=np.bool_),
        )


@dataclass(frozen=True)
class _Longer:
    """N extensions of prefixes by one label.

    Index (N,) into the rows that are searched, ascending; then as in the beams, (N, 3) and
    (N, 4 + W), and the node (N,) of the prefix.
    """

    row: Integers
    floats: Floats
    integers: Integers
    node: Integers


class _Search:
    """The search of a batch, column by column.

    The longest utterances come first, so that those which have a column are a slice of the arrays.
    """

    def __init__(self, source: Columns, size: int, fusion: ShallowFusion) -> None:
        self._source, self._fusion = source, fusion
        self._order = np.argsort(-source.lengths, kind="stable")
        lengths = source.lengths[self._order]
        columns = np.arange(int(lengths.max(initial=0)))
        self._live = np.searchsorted(-lengths, -columns, side="left")
        batch, _, vocabulary = source.log_probs.shape
        self._tried = min(max(2 * size, FEWEST_LABELS), vocabulary - 2)
        first = max(BLANK, END) + 1  # behind it there are labels only
        self._best = source.log_probs[:, :, first:].max(axis=2, initial=-np.inf)
        for label in set(range(first)) - {BLANK, END}:
            np.maximum(self._best, source.log_probs[:, :, label], out=self._best)
        self._beams, self._rows = _Beams.empty(batch, size, fusion), np.arange(batch)[:, None]
        self._nodes = 1
        self._parents, self._tokens = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]

    def advance(self, column: int) -> None:
        """Process one column.

        All `size` prefixes may stay, so an extension must exceed the worst of them, and the network
        has to be sure enough of its label.
        """
        live, beams = self._live[column], self._beams
        rows, log_probs = self._order[:live], self._source.log_probs
        before, blank_before = beams.total[:live].copy(), beams.floats[:live, :, _BLANK].copy()
        last = beams.integers[:live, :, _LAST]
        token = self._reached(live) + log_probs[rows[:, None], column, last]
        blank = before + log_probs[rows, column, BLANK][:, None]
        beams.floats[:live, :, _BLANK], beams.floats[:live, :, _TOKEN] = blank, token
        beams.total[:live] = total = np.logaddexp(blank, token)
        worst = (total + beams.floats[:live, :, _EXTERNAL]).min(axis=1)
        least = worst - ROUNDING - (before + beams.bound[:live]).max(axis=1)
        (entered,) = np.nonzero(self._best[rows, column] >= least)
        if len(entered):
            labels = self._labels(column, entered, least[entered])
            longer = self._extensions(
                entered, labels, worst[entered], before[entered], blank_before[entered]
            )
            if len(longer.row):
                self._choose(entered, longer)

    def hypotheses(self, timed: bool) -> list[list[Hypothesis]]:
        """The prefixes of nonzero probability, best first."""
        beams, source = self._beams, self._source
        batch, size = beams.total.shape
        back = np.argsort(self._order)
        states = beams.integers[:, :, _STATES:].reshape(batch * size, len(self._fusion.start))
        external = beams.floats[:, :, _EXTERNAL] + self._fusion.finish(states).reshape(batch, size)
        scores = np.where(np.isneginf(beams.total), -np.inf, beams.total + external)[back]
        order = np.argsort(-scores, axis=1, kind="stable")
        row, rank = np.nonzero(np.take_along_axis(scores, order, axis=1) > -np.inf)
        place = order[row, rank]
        tokens, counts = self._spelled(beams.integers[back[row], place, _NODE])
        columns, sure = tokens[:, :0], np.empty((len(row), 0))
        if timed:
            columns = best_paths(source, tokens, counts, row).positions
            sure = np.exp(source.log_probs[row[:, None], columns, tokens]) if tokens.size else sure
        results: list[list[Hypothesis]] = [[] for _ in range(batch)]
        values = (row, counts, tokens, scores[row, place], columns, sure)
        for owner, count, ids, score, found, confidences, added in zip(
            *(value.tolist() for value in (*values, external[back[row], place])), strict=True
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

    def _reached(self, live: int) -> Floats:
        """Log-probabilities (B', S) of the paths to which the last token can be added.

        That is from the parent, if it is in the beam, and for a CTC from the token itself.
        """
        beams = self._beams
        collapse, parent = self._source.collapse, beams.parent[:live]
        token, has_parent = beams.floats[:live, :, _TOKEN], parent >= 0
        if not has_parent.any():
            return token if collapse else np.full(parent.shape, -np.inf)
        row = self._rows[:live]
        arriving = beams.total[row, parent]  # of -1, the last place, which is not used
        if collapse:  # a repeated token needs a blank in between
            arriving = np.where(beams.repeats[:live], beams.floats[row, parent, _BLANK], arriving)
        arriving[~has_parent] = -np.inf
        return np.logaddexp(arriving, token) if collapse else arriving

    def _extensions(
        self, rows: Integers, labels: _Labels, worst: Floats, total: Floats, blank: Floats
    ) -> _Longer:
        """The extensions by one label that may enter the beams of `rows` (R,).

        Args:
            rows: of the beams.
            labels: those to try.
            worst: (R,) score of the worst prefix of each beam.
            total: (R, S) log-probability of each prefix before the column.
            blank: (R, S) those of its paths that end in blank.
        """
        beams = self._beams
        row, label, log_prob = labels
        same, before = label[:, None] == beams.integers[rows[row], :, _LAST], total[row]
        if self._source.collapse:
            before = np.where(same, blank[row], before)
        longer = before + log_prob[:, None]
        hopeful = longer + beams.bound[rows[row]] >= worst[row, None] - ROUNDING
        hopeful &= longer > -np.inf
        child, place = np.nonzero(same & (beams.parent[rows[row]] >= 0))
        hopeful[child, beams.parent[rows[row[child]], place]] = False  # it is in the beam already
        number, place = np.nonzero(hopeful)
        row, label, log_prob = row[number], label[number], longer[number, place]
        shorter = beams.integers[rows[row], place]
        added, states = self._fusion.extend(shorter[:, _STATES:], label)
        external = beams.floats[rows[row], place, _EXTERNAL] + added
        enters = log_prob + external > worst[row]
        row, label, shorter = row[enters], label[enters], shorter[enters]
        count = len(row)
        floats = np.stack((np.full(count, -np.inf), log_prob[enters], external[enters]), axis=1)
        integers = np.empty_like(shorter)
        integers[:, _LAST] = label
        integers[:, _NODE] = np.arange(self._nodes, self._nodes + count)
        integers[:, _PREFIX] = _extended(shorter[:, _PREFIX], label)
        integers[:, _SHORTER] = shorter[:, _PREFIX]
        integers[:, _STATES:] = states[enters]
        return _Longer(row, floats, integers, shorter[:, _NODE])

    def _labels(self, column: int, rows: Integers, least: Floats) -> _Labels:
        """The labels of at least a log-probability (R,) in `rows` (R,), but only the best few."""
        log_probs = self._source.log_probs[self._order[rows], column]
        log_probs[:, [BLANK, END]] = -np.inf
        tried = (log_probs >= least[:, None]) & (log_probs > -np.inf)
        (crowded,) = np.nonzero(tried.sum(axis=1) > self._tried)
        if len(crowded):
            last = log_probs.shape[1] - self._tried
            least = np.partition(log_probs[crowded], last, axis=1)[:, last]
            tried[crowded] &= log_probs[crowded] >= least[:, None]
        row, label = np.nonzero(tried)
        return row, label, log_probs[row, label]

    def _choose(self, rows: Integers, longer: _Longer) -> None:
        """Keep the best prefixes of the beams of `rows` (R,), those that stay and longer ones."""
        beams, size = self._beams, self._beams.total.shape[1]
        self._nodes += len(longer.row)
        self._parents.append(longer.node)
        self._tokens.append(longer.integers[:, _LAST])
        floats, integers = beams.floats[rows], beams.integers[rows]
        counts = np.bincount(longer.row, minlength=len(rows))
        number = np.arange(len(longer.row))
        column = size + number - (np.cumsum(counts) - counts)[longer.row]
        scores = np.full((len(rows), size + int(counts.max())), -np.inf)
        scores[:, :size] = beams.total[rows] + floats[:, :, _EXTERNAL]
        scores[longer.row, column] = longer.floats[:, _TOKEN] + longer.floats[:, _EXTERNAL]
        source = np.zeros(scores.shape, dtype=np.int64)
        source[:, :size], source[longer.row, column] = np.arange(size), number
        chosen = np.argsort(-scores, axis=1, kind="stable")[:, :size]
        at = np.arange(len(rows))[:, None]
        place, grows = source[at, chosen], chosen >= size
        old, new = np.where(grows, 0, place), place[grows]
        floats, integers = floats[at, old], integers[at, old]
        floats[grows], integers[grows] = longer.floats[new], longer.integers[new]
        beams.floats[rows], beams.integers[rows] = floats, integers
        beams.total[rows] = total = np.logaddexp(floats[:, :, _BLANK], floats[:, :, _TOKEN])
        states = integers[:, :, _STATES:].reshape(len(rows) * size, len(self._fusion.start))
        bound = self._fusion.upper_bound(states).reshape(len(rows), size)
        beams.bound[rows] = floats[:, :, _EXTERNAL] + bound
        possible = total > -np.inf
        is_parent = integers[:, None, :, _PREFIX] == integers[:, :, None, _SHORTER]
        is_parent &= possible[:, None, :] & possible[:, :, None]
        parent = np.where(is_parent.any(axis=2), is_parent.argmax(axis=2), -1)
        last = integers[:, :, _LAST]
        beams.parent[rows], beams.repeats[rows] = parent, last[at, parent] == last

    def _spelled(self, nodes: Integers) -> tuple[Integers, Integers]:
        """Tokens (N, L) of the prefixes of these nodes (N,), and their numbers (N,)."""
        parents, tokens = np.concatenate(self._parents), np.concatenate(self._tokens)
        backwards: list[Integers] = []
        while (nodes > 0).any():
            backwards.append(tokens[nodes])
            nodes = parents[nodes]
        if not backwards:
            return np.zeros((len(nodes), 0), np.int64), np.zeros(len(nodes), np.int64)
        path = np.stack(backwards[::-1], axis=1)  # the first node has the token BLANK
        counts = (path != BLANK).sum(axis=1)
        shift = path.shape[1] - counts[:, None] + np.arange(path.shape[1])
        return np.take_along_axis(path, np.minimum(shift, path.shape[1] - 1), axis=1), counts


def _extended(prefix: Integers, token: Integers) -> Integers:
    """Hash of prefixes with one more token."""
    mixed: Integers = (prefix ^ (prefix >> 31)) * _MULTIPLIER + token + 1
    return mixed
