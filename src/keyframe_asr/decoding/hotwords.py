"""Hotwords: phrases that receive a bonus in a beam search.

All phrases are stored in an Aho-Corasick automaton (Aho & Corasick, 1975) over letters. A partially
matched phrase contributes part of its bonus in advance, the potential of the hypothesis; each step
adds the change of the potential, so the advance is taken back if the match fails. A complete phrase
keeps its bonus. The total bonus of a sentence is therefore exactly that of the phrases in it.
Where spaces separate words, a phrase must start and end at word boundaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from keyframe_asr.decoding.arrays import Floats, Integers
from keyframe_asr.decoding.scorers import SparseTable
from keyframe_asr.text.tokenizer import Tokenizer
from keyframe_asr.text.trie import BOUNDARY, ROOT, Pieces, Trie, surfaces


@dataclass(frozen=True)
class _Move:
    """Target node of a token, and the bonus of the phrases that it completes."""

    target: int
    earned: float


class HotwordScorer:
    """Scorer that adds the bonus of hotwords. State: node of the automaton."""

    def __init__(self, phrases: Mapping[str, float], tokenizer: Tokenizer, spaced: bool) -> None:
        """Build the automaton and its token tables.

        Args:
            phrases: in the recogniser's normal form, with the bonus per token (natural log).
            tokenizer: of the recogniser.
            spaced: True if spaces separate words.
        """
        bonuses = {
            phrase: bonus * len(tokenizer.encode(phrase)) for phrase, bonus in phrases.items()
        }
        automaton = _Automaton(bonuses, spaced)
        pieces = Pieces(surfaces(tokenizer))
        self._start = automaton.boundary_of(ROOT).target if spaced else ROOT
        usual = [
            automaton.walk(self._start if begins and spaced else ROOT, letters)
            for begins, letters in zip(pieces.begins, pieces.letters, strict=True)
        ]
        moves = automaton.unusual(pieces, usual)
        self._table = SparseTable(list(moves), tokenizer.vocab_size)
        none = [_Move(ROOT, 0.0)]
        self._targets, self._earned = _arrays([*moves.values()] or none)
        self._usual_targets, self._usual_earned = _arrays(usual)
        nodes = range(len(automaton.children))
        boundaries = [automaton.boundary_of(node) for node in nodes]
        self._boundary_targets, self._boundary_earned = _arrays(boundaries)
        begins = [spaced and begin for begin in pieces.begins]
        self._begins = np.array(begins)
        self._bare = np.array(  # word boundaries without letters
            [begin and not letters for begin, letters in zip(begins, pieces.letters, strict=True)]
        )
        self._potential = np.array(automaton.potential)
        earned = max(float(self._earned.max()), float(self._usual_earned.max()))
        self._upper_bound = earned + float(self._boundary_earned.max() + self._potential.max())
        self._spaced = spaced

    @property
    def start(self) -> tuple[int, ...]:
        """State at the beginning of a word if spaces separate words, else the root."""
        return (self._start,)

    def extend(self, states: Integers, tokens: Integers) -> tuple[Floats, Integers]:
        """See `Scorer`."""
        before = states[:, 0]
        begins = self._begins[tokens]
        earned = np.where(begins, self._boundary_earned[before], 0.0)
        node = np.where(begins, self._boundary_targets[before], before)
        place, there = self._table.find(node, tokens)
        target = np.where(there, self._targets[place], self._usual_targets[tokens])
        bonus = np.where(there, self._earned[place], self._usual_earned[tokens])
        bare = self._bare[tokens]
        target = np.where(bare, node, target)
        earned = earned + np.where(bare, 0.0, bonus)
        return earned + self._potential[target] - self._potential[before], target[:, None]

    def upper_bound(self, states: Integers) -> Floats:
        """See `Scorer`."""
        return self._upper_bound - self._potential[states[:, 0]]

    def finish(self, states: Integers) -> Floats:
        """See `Scorer`. The end of a sentence ends a word; partial matches lose their bonus."""
        node = states[:, 0]
        earned = self._boundary_earned[node] if self._spaced else 0.0
        return earned - self._potential[node]


def _arrays(moves: Iterable[_Move]) -> tuple[Integers, Floats]:
    targets, earned = zip(*((move.target, move.earned) for move in moves), strict=True)
    return np.array(targets), np.array(earned)


class _Automaton(Trie):
    """Trie of phrases with failure links.

    Attributes:
        spaced: True if phrases start and end at word boundaries.
        boundaries: nodes reached by a word boundary.
        failure: per node, the node of its longest proper suffix in the trie.
        earned: per node, the bonus of all phrases that end there.
        potential: per node, the largest bonus of a partially matched phrase.
    """

    def __init__(self, bonuses: Mapping[str, float], spaced: bool) -> None:
        super().__init__()
        self.spaced = spaced
        own: dict[int, float] = {}
        partial: dict[int, float] = {ROOT: 0.0}
        if spaced:
            self.add(BOUNDARY)
        for phrase, bonus in bonuses.items():
            letters = phrase.replace(" ", BOUNDARY)
            path = self.add(f"{BOUNDARY}{letters}{BOUNDARY}" if spaced else letters)
            own[path[-1]] = bonus
            for number, node in enumerate(path[:-1]):
                advance = bonus * (number if spaced else number + 1) / len(letters)
                partial[node] = max(partial.get(node, 0.0), advance)
        self.boundaries = {child for _, letter, child in self.breadth_first() if letter == BOUNDARY}
        self.failure = [ROOT] * len(self.children)
        self.earned = [own.get(node, 0.0) for node in range(len(self.children))]
        self.potential = [partial.get(node, 0.0) for node in range(len(self.children))]
        for node, letter, child in self.breadth_first():
            if node != ROOT:
                self.failure[child] = self.step(self.failure[node], letter)
            shorter = self.failure[child]
            self.earned[child] += self.earned[shorter]
            self.potential[child] = max(self.potential[child], self.potential[shorter])

    def step(self, node: int, letter: str) -> int:
        """The node after a letter."""
        while node != ROOT and letter not in self.children[node]:
            node = self.failure[node]
        return self.children[node].get(letter, ROOT)

    def walk(self, node: int, letters: str) -> _Move:
        """The node after several letters and the bonus of the phrases completed on the way."""
        earned = 0.0
        for letter in letters:
            node = self.step(node, letter)
            earned += self.earned[node]
        return _Move(node, earned)

    def boundary_of(self, node: int) -> _Move:
        """The move of a word boundary; consecutive boundaries count as one."""
        return _Move(node, 0.0) if node in self.boundaries else self.walk(node, BOUNDARY)

    def unusual(self, pieces: Pieces, usual: list[_Move]) -> dict[tuple[int, int], _Move]:
        """Moves of (node, token) that differ from the token's usual move."""
        moves: dict[tuple[int, int], _Move] = {}
        candidates: dict[int, set[int]] = {ROOT: set()}
        for _, _, node in self.breadth_first():
            # without word boundaries, a phrase may end inside a token
            continuing = (
                {token for token, _ in pieces.walks(self, node)}
                if self.spaced
                else {token for letter in self.children[node] for token in pieces.starting(letter)}
            )
            candidates[node] = continuing | candidates[self.failure[node]]
            for token in candidates[node]:
                found = self.walk(node, pieces.letters[token])
                if found != usual[token]:
                    moves[node, token] = found
        return moves
