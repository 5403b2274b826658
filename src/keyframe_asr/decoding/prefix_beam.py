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
import numpy.typing as npt

from keyframe_asr.decoding.arrays import Bools, Floats, Integers
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.viterbi import Columns, best_paths
from keyframe_asr.text.tokenizer import BLANK, END

FEWEST_LABELS = 20
"""Minimum number of labels tried per column: fusion may prefer labels the network does not."""

ROUNDING = 1e-3
"""Tolerance (natural log) for rounding errors in the pruning bound."""

_Hashes: TypeAlias = npt.NDArray[np.uint64]
_Labels: TypeAlias = tuple[Integers, Integers, Floats]
"""Index (N,) into the rows that are searched, ascending, label and log-probability."""

_MULTIPLIER = np.uint64(0x5851F42D4C957F2D)
_NO_PREFIX = np.uint64(0x9E3779B97F4A7C15)
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
        blank: (B, S) log-probability of the paths that end in blank.
        token: (B, S) log-probability of the paths that end in the last token.
        total: (B, S) log-probability of all paths.
        last: (B, S) last token, `BLANK` for the empty prefix.
        prefix: (B, S) hash of the tokens.
        shorter: (B, S) hash of the tokens without the last.
        node: (B, S) node of the prefix in the tree of all prefixes.
        external: (B, S) score added by fusion.
        states: (B, S, W) states of fusion.
        bound: (B, S) upper bound of `external` with one more token.
        parent: (B, S) place of the prefix without its last token, -1 if it is not in the beam.
        repeats: (B, S) True if the last two tokens are equal, for those with a parent.
    """

    blank: Floats
    token: Floats
    total: Floats
    last: Integers
    prefix: _Hashes
    shorter: _Hashes
    node: Integers
    external: Floats
    states: Integers
    bound: Floats
    parent: Integers
    repeats: Bools

    @classmethod
    def empty(cls, batch: int, size: int, fusion: ShallowFusion) -> _Beams:
        """The empty prefix; all other beam entries have probability zero."""
        shape = (batch, size)
        blank = np.full(shape, -np.inf)
        blank[:, 0] = 0.0
        states = np.tile(np.array(fusion.start, dtype=np.int64), (batch, size, 1))
        bound = fusion.upper_bound(states.reshape(batch * size, len(fusion.start))).reshape(shape)
        return cls(
            blank=blank,
            token=np.full(shape, -np.inf),
            total=blank.copy(),
            last=np.full(shape, BLANK, dtype=np.int64),
            prefix=np.zeros(shape, dtype=np.uint64),
            shorter=np.full(shape, _NO_PREFIX),
            node=np.zeros(shape, dtype=np.int64),
            external=np.zeros(shape),
            states=states,
            bound=bound,
            parent=np.full(shape, -1, dtype=np.int64),
            repeats=np.zeros(shape, dtype=np.bool_),
        )


@dataclass(frozen=True)
class _Longer:
    """N extensions of prefixes by one label.

    `row` (N,) and `place` (N,) tell the prefix; then label, log-probability, added score and state.
    """

    row: Integers
    place: Integers
    label: Integers
    log_prob: Floats
    external: Floats
    states: Integers


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
        self._beams = _Beams.empty(batch, size, fusion)
        self._nodes = 1
        self._parents, self._tokens = [np.zeros(1, np.int64)], [np.zeros(1, np.int64)]

    def advance(self, column: int) -> None:
        """Process one column.

        All `size` prefixes may stay, so an extension must exceed the worst of them, and the network
        has to be sure enough of its label.
        """
        live, beams = self._live[column], self._beams
        rows = self._order[:live]
        log_probs = self._source.log_probs
        blank, total, external = beams.blank[:live], beams.total[:live], beams.external[:live]
        before, blank_before = total.copy(), blank.copy()
        token = self._reached(live) + log_probs[rows[:, None], column, beams.last[:live]]
        blank[:] = before + log_probs[rows, column, BLANK][:, None]
        beams.token[:live] = token
        np.logaddexp(blank, token, out=total)
        worst = (total + external).min(axis=1) - ROUNDING
        least = worst - (before + beams.bound[:live]).max(axis=1)
        (entered,) = np.nonzero(self._best[rows, column] >= least)
        if len(entered):
            needed = worst[entered, None] - beams.bound[entered]
            labels = self._labels(column, entered, least[entered])
            longer = self._extensions(
                entered, labels, needed, before[entered], blank_before[entered]
            )
            if len(longer.row):
                self._choose(entered, longer)

    def hypotheses(self, timed: bool) -> list[list[Hypothesis]]:
        """The prefixes of nonzero probability, best first."""
        beams, source = self._beams, self._source
        batch, size = beams.last.shape
        back = np.argsort(self._order)
        states = beams.states.reshape(batch * size, beams.states.shape[2])
        external = beams.external + self._fusion.finish(states).reshape(batch, size)
        scores = np.where(np.isneginf(beams.total), -np.inf, beams.total + external)[back]
        order = np.argsort(-scores, axis=1, kind="stable")
        row, rank = np.nonzero(np.take_along_axis(scores, order, axis=1) > -np.inf)
        place = order[row, rank]
        tokens, counts = self._spelled(beams.node[back[row], place])
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
        has_parent = parent >= 0
        if not has_parent.any():
            return beams.token[:live].copy() if collapse else np.full(parent.shape, -np.inf)
        # -1 is the last place, whose value is not used
        arriving = np.take_along_axis(beams.total[:live], parent, axis=1)
        if collapse:  # a repeated token needs a blank in between
            blank = np.take_along_axis(beams.blank[:live], parent, axis=1)
            arriving = np.where(beams.repeats[:live], blank, arriving)
        arriving[~has_parent] = -np.inf
        return np.logaddexp(arriving, beams.token[:live]) if collapse else arriving

    def _extensions(
        self, rows: Integers, labels: _Labels, needed: Floats, total: Floats, blank: Floats
    ) -> _Longer:
        """The extensions by one label that may enter the beams of `rows` (R,).

        Args:
            rows: of the beams.
            labels: those to try.
            needed: (R, S) log-probability that an extension of each prefix needs.
            total: (R, S) log-probability of each prefix before the column.
            blank: (R, S) those of its paths that end in blank.
        """
        beams = self._beams
        row, label, log_prob = labels
        last, parent = beams.last[rows], beams.parent[rows]
        before = total[row]
        same = label[:, None] == last[row]
        if self._source.collapse:
            before = np.where(same, blank[row], before)
        longer = before + log_prob[:, None]
        hopeful = (longer >= needed[row]) & (longer > -np.inf)
        child, place = np.nonzero(same & (parent[row] >= 0))
        hopeful[child, parent[row[child], place]] = False  # it is in the beam already
        number, place = np.nonzero(hopeful)
        row, label = row[number], label[number]
        states = beams.states[rows[row], place]
        added, states = self._fusion.extend(states, label)
        external = beams.external[rows[row], place] + added
        return _Longer(row, place, label, longer[number, place], external, states)

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
        beams, size = self._beams, self._beams.last.shape[1]
        counts = np.bincount(longer.row, minlength=len(rows))
        number = np.arange(len(longer.row)) - (np.cumsum(counts) - counts)[longer.row]
        scores = np.full((len(rows), size + int(counts.max())), -np.inf)
        scores[:, :size] = beams.total[rows] + beams.external[rows]
        scores[longer.row, size + number] = longer.log_prob + longer.external
        chosen = np.argsort(-scores, axis=1, kind="stable")[:, :size]
        source = np.zeros(scores.shape, dtype=np.int64)
        source[:, :size] = np.arange(size)
        source[longer.row, size + number] = np.arange(len(longer.row))
        grows = chosen >= size
        place = np.take_along_axis(source, chosen, axis=1)
        at, old = rows[:, None], np.where(grows, 0, place)
        kept = {
            name: getattr(beams, name)[at, old]
            for name in ("blank", "token", "last", "prefix", "shorter", "node", "external")
        }
        states = beams.states[at, old]
        new = place[grows]
        shorter = beams.prefix[rows[longer.row[new]], longer.place[new]]
        kept["blank"][grows] = -np.inf
        kept["token"][grows] = longer.log_prob[new]
        kept["last"][grows] = longer.label[new]
        kept["prefix"][grows] = _extended(shorter, longer.label[new])
        kept["shorter"][grows] = shorter
        kept["node"][grows] = np.arange(self._nodes, self._nodes + len(new))
        kept["external"][grows] = longer.external[new]
        states[grows] = longer.states[new]
        self._nodes += len(new)
        self._parents.append(beams.node[rows[longer.row[new]], longer.place[new]])
        self._tokens.append(longer.label[new])
        for name, values in kept.items():
            getattr(beams, name)[rows] = values
        beams.states[rows] = states
        beams.total[rows] = total = np.logaddexp(kept["blank"], kept["token"])
        bound = self._fusion.upper_bound(states.reshape(len(rows) * size, states.shape[2]))
        beams.bound[rows] = kept["external"] + bound.reshape(len(rows), size)
        possible = ~np.isneginf(total)
        is_parent = kept["prefix"][:, None, :] == kept["shorter"][:, :, None]
        is_parent &= possible[:, None, :] & possible[:, :, None]
        parent = np.where(is_parent.any(axis=2), is_parent.argmax(axis=2), -1)
        beams.parent[rows] = parent
        beams.repeats[rows] = np.take_along_axis(kept["last"], parent, axis=1) == kept["last"]

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


def _extended(prefix: _Hashes, token: Integers) -> _Hashes:
    """Hash of prefixes with one more token."""
    mixed: _Hashes = (prefix ^ (prefix >> np.uint64(31))) * _MULTIPLIER + token.astype(np.uint64)
    return mixed + np.uint64(1)
