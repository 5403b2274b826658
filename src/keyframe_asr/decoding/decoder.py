"""What the searches need of an attention decoder, whatever computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from keyframe_asr.decoding.arrays import Bools, Floats, Integers

MOST_LOGITS = 50_000_000
"""Outputs of a decoder that are computed at once: 200 MB."""


class DecoderState(Protocol):
    """The state of N hypotheses, which never changes: a step returns the next one."""

    def step(self, tokens: Integers) -> tuple[Floats, DecoderState]:
        """Log-probabilities (N, V) after tokens (N,), or (N, P) of a prompt, and the next state."""
        ...

    def select(self, rows: Integers) -> DecoderState:
        """Reorder or repeat the hypotheses by index (N',)."""
        ...

    def select_past(self, rows: Integers) -> DecoderState:
        """Reorder only the tokens so far, for hypotheses that stay within their utterance."""
        ...


@dataclass(frozen=True)
class TokenTree:
    """Texts as the paths of a tree, and what is asked about them.

    Attributes:
        tokens: (N,) token of each node.
        before: (N, N) True for the nodes on the path to each node, itself included.
        nodes: (M,) nodes after which the probability of a token is wanted.
        following: (M,) these tokens.
    """

    tokens: Integers
    before: Bools
    nodes: Integers
    following: Integers


class BatchDecoder(Protocol):
    """A decoder, and the B utterances that it attends to."""

    @property
    def vocab_size(self) -> int:
        """Number V of its tokens."""

    @property
    def longest(self) -> int | None:
        """Most tokens of a text with its prompt; None if there is no limit."""

    def start(self, rows: Integers) -> DecoderState:
        """State before the first token, for a hypothesis of each of these utterances (N,)."""
        ...

    def score(self, rows: Integers, prefix: Integers, following: Integers) -> Floats:
        """Log-probabilities (N, L) of tokens after prefixes of given texts (teacher forcing).

        Args:
            rows: (N,) utterance of each text.
            prefix: (N, L) its tokens, beginning with a prompt; padding may be any token.
            following: (N, L) the token whose probability is wanted after each.
        """
        ...

    def score_tree(self, row: int, tree: TokenTree) -> Floats:
        """Log-probabilities (M,) of tokens after nodes of a tree of texts of one utterance."""
        ...
