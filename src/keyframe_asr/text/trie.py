"""Tries over letters, and how the tokens of a vocabulary move through them.

A token may be a letter, a piece or a whole word. Because a trie is spelled in letters, it matches a
word however the word is split into tokens. "▁" marks the start of a word, as in sentencepiece.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from keyframe_asr.text.tokenizer import END, UNKNOWN, Tokenizer

BOUNDARY = "▁"
ROOT = 0
CODE_POINTS = 0x110000

Numbers: TypeAlias = NDArray[np.int64]


def surfaces(tokenizer: Tokenizer) -> list[str]:
    """Return the letters of every token, "▁" where a word begins; "" for the reserved ids."""
    return [
        tokenizer.surface(token) if token > max(UNKNOWN, END) else ""
        for token in range(tokenizer.vocab_size)
    ]


def writes_spaces(tokenizer: Tokenizer) -> bool:
    """True if any token starts a word."""
    return any(text.startswith(BOUNDARY) for text in surfaces(tokenizer))


class Trie:
    """Nodes are integers, `ROOT` is the empty word; `children[node]` maps a letter to a node."""

    def __init__(self) -> None:
        self.children: list[dict[str, int]] = [{}]

    def add(self, letters: str) -> list[int]:
        """Insert a word; return the nodes along it, one per letter."""
        node, path = ROOT, []
        for letter in letters:
            following = self.children[node].get(letter)
            if following is None:
                following = len(self.children)
                self.children.append({})
                self.children[node][letter] = following
            node = following
            path.append(node)
        return path

    def breadth_first(self) -> Iterator[tuple[int, str, int]]:
        """Yield every edge as (node, letter, child), level by level."""
        level = [ROOT]
        while level:
            edges = [(n, letter, c) for n in level for letter, c in self.children[n].items()]
            yield from edges
            level = [child for _, _, child in edges]

    def edges(self) -> Numbers:
        """Return all edges (E, 3) as node, code point of the letter, child; sorted by node."""
        found = [
            (node, ord(letter), child)
            for node, children in enumerate(self.children)
            for letter, child in children.items()
        ]
        return np.array(found, dtype=np.int64).reshape(-1, 3)


class Pieces:
    """The tokens of a vocabulary in a trie of their letters, without a leading "▁".

    Attributes:
        letters: letters of every token, without its "▁".
        begins: per token, True if it starts with "▁".
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self.begins = [text.startswith(BOUNDARY) for text in texts]
        self.letters = [text.removeprefix(BOUNDARY) for text in texts]
        self._trie = Trie()
        self._tokens: dict[int, list[int]] = {}
        for token, letters in enumerate(self.letters):
            if letters:
                self._tokens.setdefault(self._trie.add(letters)[-1], []).append(token)

    def starting(self, letter: str) -> list[int]:
        """Return the tokens whose first letter, after a "▁", is `letter`."""
        return [token for token, letters in enumerate(self.letters) if letters[:1] == letter]

    def walks(self, trie: Trie, node: int) -> Iterator[tuple[int, int]]:
        """Yield (token, end node) for all tokens whose letters are a path from `node` of `trie`."""
        open_ = [(node, ROOT)]
        while open_:
            at, mine = open_.pop()
            for token in self._tokens.get(mine, ()):
                yield token, at
            for letter, child in self._trie.children[mine].items():
                if letter in trie.children[at]:
                    open_.append((trie.children[at][letter], child))

    def all_walks(self, trie: Trie) -> Numbers:
        """Return rows (W, 3) of node, token, end node: `walks` from every node, all at once."""
        nodes, letters, children = trie.edges().T
        first = np.searchsorted(nodes, np.arange(len(trie.children) + 1))
        own = self._trie.edges()
        keys = own[:, 0] * CODE_POINTS + own[:, 1]
        order = np.argsort(keys)
        keys, following = np.append(keys[order], -1), own[order, 2]  # -1: after the last is none
        spelled = [(mine, token) for mine, tokens in self._tokens.items() for token in tokens]
        ends, tokens = np.array(sorted(spelled), dtype=np.int64).reshape(-1, 2).T
        start = at = np.arange(len(trie.children))
        mine = np.zeros_like(start)
        found = []
        while len(start):
            first_token = np.searchsorted(ends, mine)
            row, place = _ranges(first_token, np.searchsorted(ends, mine, side="right"))
            found.append(np.stack((start[row], tokens[place], at[row]), axis=1))
            row, edge = _ranges(first[at], first[at + 1])
            wanted = mine[row] * CODE_POINTS + letters[edge]
            place = np.searchsorted(keys[:-1], wanted)
            known = keys[place] == wanted
            row, edge = row[known], edge[known]
            start, at, mine = start[row], children[edge], following[place[known]]
        return np.concatenate(found)


def _ranges(first: Numbers, last: Numbers) -> tuple[Numbers, Numbers]:
    """All integers from `first` (N,) up to `last` (N,), excluded, each after its row."""
    sizes = last - first
    row = np.repeat(np.arange(len(sizes)), sizes)
    return row, np.arange(len(row)) + (first - np.cumsum(sizes) + sizes)[row]
