"""Pruning of n-gram models by relative entropy, to a size.

Stolcke, "Entropy-based pruning of backoff language models" (DARPA Broadcast News Workshop 1998).
The cost of removing the n-gram (h, w) is the relative entropy between the distributions after h
with and without it, times the probability of h (equation 3 there, in closed form). Costs are
computed once; the n-grams of the lowest cost go first, and none goes before those that begin with
it. Then all back-off weights are computed anew.

Deviation: the probability of a context is not the product of the model's conditional probabilities,
which Kneser-Ney smoothing makes useless, since its lower orders are no marginals (Chelba et al.,
"Study on interaction between entropy pruning and Kneser-Ney smoothing", Interspeech 2010). It is
the expected number of times per sentence that the automaton consults the distribution, directly or
by backing off, found by power iteration over random sentences of the model itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from keyframe_asr.decoding.lm.arpa import START, STOP, NgramModel
from keyframe_asr.decoding.lm.automaton import Automaton, Indices, Numbers
from keyframe_asr.decoding.lm.packed import packed_bytes
from keyframe_asr.errors import ModelError

LONGEST_SENTENCE = 300
"""Words after which random sentences are cut off."""

NEGLIGIBLE = 1e-6
"""Fraction of random sentences that may be still unfinished."""

SMALLEST = 1e-12
"""Probabilities left for the words that a context does not have; smaller ones are rounding."""


def pruned_to_size(model: NgramModel, max_bytes: int) -> NgramModel:
    """Return the model, pruned so that its packed file has at most `max_bytes`.

    Raises:
        ModelError: the words alone take more, or an n-gram is listed twice.
    """
    arcs = Automaton.of(model)
    fixed, each = packed_bytes(arcs)
    if fixed > max_bytes:
        raise ModelError(
            f"the {len(arcs.words)} words of the language model take {fixed} bytes, more than "
            f"{max_bytes}; allow more"
        )
    bytes_of = np.repeat(each, arcs.sizes)
    bytes_of[: arcs.sizes[0]] = 0
    if fixed + bytes_of.sum() <= max_bytes:
        return model
    costs = removal_costs(arcs)
    # by descending cost; of an n-gram and those that begin with it, the n-gram comes first
    order = np.lexsort((np.arange(len(costs)), -costs))
    kept = np.zeros(len(costs), dtype=bool)
    kept[order[: np.searchsorted(np.cumsum(bytes_of[order]), max_bytes - fixed, side="right")]] = 1
    return without(arcs, kept).model()


def without(arcs: Automaton, kept: NDArray[np.bool_]) -> Automaton:
    """Remove all other arcs (E,) and compute the back-off weights anew."""
    smaller = arcs.keeping(kept)
    return replace(smaller, weights=backoff_weights(smaller))


def backoff_weights(arcs: Automaton) -> Numbers:
    """Base-10 back-off weights (E,) with which the probabilities after every context sum to one."""
    weights = np.zeros(len(arcs.keys))
    for order in range(2, len(arcs.sizes) + 1):  # the weights of shorter contexts come first
        places = arcs.places(order)
        lower, _ = _in_shorter(arcs, places, weights)
        left, left_lower = _left(arcs, places, arcs.log10), _left(arcs, places, lower)
        states = np.unique(arcs.contexts[places])
        weights[states - 1] = np.log10(left[states] / left_lower[states])
    return weights


def removal_costs(arcs: Automaton) -> Numbers:
    """Relative entropy (E,) that removing each arc costs per sentence, in nats; 1-grams: infinite.

    An arc costs at least what the most expensive arc after its state does.
    """
    used = expected_lookups(arcs)
    costs = np.full(len(arcs.keys), np.inf)
    for order in range(2, len(arcs.sizes) + 1):
        places = arcs.places(order)
        states = arcs.contexts[places]
        lower, _ = _in_shorter(arcs, places, arcs.weights)
        left = _left(arcs, places, arcs.log10)[states]
        left_lower = _left(arcs, places, lower)[states]
        p, q = 10 ** arcs.log10[places], 10**lower
        weight, new = left / left_lower, (left + p) / (left_lower + q)
        change = p * (np.log(q / p) + np.log(new)) + left * np.log(new / weight)
        costs[places] = -used[states] * change
    for order in range(len(arcs.sizes) - 1, 1, -1):
        places, children = arcs.places(order), arcs.places(order + 1)
        np.maximum.at(costs, arcs.contexts[children] - 1, costs[children])
    return costs


def _in_shorter(arcs: Automaton, places: Indices, weights: Numbers) -> tuple[Numbers, Indices]:
    """How the words of arcs (N,) are looked up without them: `advance` from the shorter context."""
    return arcs.advance(arcs.shorter[arcs.contexts[places] - 1], arcs.word_ids[places], weights)


def _left(arcs: Automaton, places: Indices, log10: Numbers) -> Numbers:
    """Probability, per state, of the words that have none of these arcs of one order."""
    probabilities = 10 ** (log10[places] if len(log10) == len(arcs.keys) else log10)
    sums = np.bincount(arcs.contexts[places], probabilities, minlength=places[0])
    return np.maximum(1 - sums, SMALLEST)


def expected_lookups(arcs: Automaton) -> Numbers:
    """How often per sentence the distribution after each state (S,) is looked up."""
    contexts = arcs.contexts
    above = np.arange(arcs.sizes[0], len(arcs.keys))
    probabilities = 10**arcs.log10
    weights = np.concatenate(([0.0], 10 ** arcs.weights[: arcs.highest]))
    lower, excluded = _in_shorter(arcs, above, arcs.weights)
    share = weights[contexts[above]] * 10**lower
    goes_on = arcs.word_ids != arcs.words.index(STOP)
    following = arcs.following[goes_on]
    total: Numbers = np.zeros(arcs.highest + 1)
    visits: Numbers = np.zeros(arcs.highest + 1)
    visits[arcs.words.index(START) + 1 if START in arcs.words else 0] = 1.0
    for _ in range(LONGEST_SENTENCE):
        lookups = _with_backing_off(arcs, visits, weights)
        total += lookups
        flow = lookups[contexts] * probabilities
        # a word is not looked up in shorter contexts if the longer one has it
        flow -= np.bincount(excluded, lookups[contexts[above]] * share, minlength=len(flow))
        visits = np.bincount(following, flow[goes_on].clip(min=0), len(total)).astype(np.float64)
        if visits.sum() < NEGLIGIBLE:
            break
    return total


def _with_backing_off(arcs: Automaton, visits: Numbers, weights: Numbers) -> Numbers:
    """Visits of states (S,) plus what arrives from longer contexts that back off."""
    lookups = visits.copy()
    for order in range(len(arcs.sizes) - 1, 0, -1):
        places = arcs.places(order)
        backed_off = lookups[places + 1] * weights[places + 1]
        lookups += np.bincount(arcs.shorter[places], backed_off, minlength=len(lookups))
    return lookups
