"""Shallow fusion: scorers outside the network that add to the scores of a beam search.

The state of a scorer after a token sequence is a row of integers, so a search step is one table
lookup for all utterances, beams and candidate tokens. A score may depend on the tokens only: equal
prefixes have equal states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from keyframe_asr.decoding.hypothesis import padded


class Scorer(Protocol):
    """Adds a weighted score to a hypothesis token by token."""

    @property
    def start(self) -> tuple[int, ...]:
        """State before the first token."""

    def extend(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (N,) and next states (N, W) of hypotheses in states (N, W) followed by tokens."""

    def upper_bound(self, states: Tensor) -> Tensor:
        """Upper bounds (N,) of the score of any single token after these states."""

    def finish(self, states: Tensor) -> Tensor:
        """Scores (N,) of ending in these states."""


@dataclass(frozen=True)
class Weighted:
    """A scorer whose scores are multiplied by a weight of at least 0."""

    scorer: Scorer
    weight: float

    @property
    def start(self) -> tuple[int, ...]:
        """See `Scorer`."""
        return self.scorer.start

    def extend(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """See `Scorer`."""
        scores, following = self.scorer.extend(states, tokens)
        return self.weight * scores, following

    def upper_bound(self, states: Tensor) -> Tensor:
        """See `Scorer`."""
        return self.weight * self.scorer.upper_bound(states)

    def finish(self, states: Tensor) -> Tensor:
        """See `Scorer`."""
        return self.weight * self.scorer.finish(states)


@dataclass(frozen=True)
class ShallowFusion:
    """The sum of several scorers and a bonus per token, which offsets their costs."""

    scorers: tuple[Scorer, ...] = ()
    token_bonus: float = 0.0

    @property
    def start(self) -> tuple[int, ...]:
        """State before the first token: the concatenated states of the scorers."""
        return tuple(number for scorer in self.scorers for number in scorer.start)

    def extend(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (N,) and next states (N, W) of states (N, W) followed by tokens (N,)."""
        scores = torch.full(tokens.shape, self.token_bonus, device=tokens.device)
        following = []
        for scorer, own in zip(self.scorers, self._split(states), strict=True):
            added, after = scorer.extend(own, tokens)
            scores = scores + added
            following.append(after)
        return scores, torch.cat(following, dim=1) if following else states

    def upper_bound(self, states: Tensor) -> Tensor:
        """Upper bounds (N,) of the score of any token after states (N, W), for pruning."""
        bound = torch.full((len(states),), self.token_bonus, device=states.device)
        for scorer, own in zip(self.scorers, self._split(states), strict=True):
            bound = bound + scorer.upper_bound(own)
        return bound

    def finish(self, states: Tensor) -> Tensor:
        """Scores (N,) of hypotheses that end in states (N, W)."""
        scores = torch.zeros(len(states), device=states.device)
        for scorer, own in zip(self.scorers, self._split(states), strict=True):
            scores = scores + scorer.finish(own)
        return scores

    def score(self, sentences: Sequence[Sequence[int]], device: torch.device) -> Tensor:
        """Scores (N,) of complete token sequences, including the end of sentence."""
        tokens, lengths = padded(sentences, device)
        states = torch.tensor(self.start, dtype=torch.long, device=device)
        states = states.expand(len(sentences), -1)
        total = torch.zeros(len(sentences), device=device)
        for place in range(tokens.shape[1]):
            added, after = self.extend(states, tokens[:, place])
            inside = place < lengths
            total = total + added.masked_fill(~inside, 0.0)
            states = torch.where(inside.unsqueeze(1), after, states)
        return total + self.finish(states)

    def _split(self, states: Tensor) -> list[Tensor]:
        widths = [len(scorer.start) for scorer in self.scorers]
        return list(states.split(widths, dim=1)) if widths else []


class SparseTable:
    """Index of (row, column) pairs of integers, looked up by bisection in a sorted array."""

    def __init__(
        self, pairs: Sequence[tuple[int, int]] | Tensor, columns: int, device: torch.device
    ) -> None:
        """Index pairs (N, 2) with columns in 0 to `columns` - 1; of equal pairs the first wins."""
        row, column = torch.as_tensor(pairs, dtype=torch.long).reshape(-1, 2).unbind(1)
        self._columns = columns
        self._keys, order = (row * columns + column).sort(stable=True)
        self._keys, self._order = self._keys.to(device), order.to(device)

    def find(self, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
        """Index of each pair in the list the table was built from, and whether it is there."""
        keys = rows * self._columns + columns
        if not len(self._keys):
            return torch.zeros_like(keys), torch.zeros_like(keys, dtype=torch.bool)
        place = torch.searchsorted(self._keys, keys).clamp(max=len(self._keys) - 1)
        return self._order[place], self._keys[place] == keys
