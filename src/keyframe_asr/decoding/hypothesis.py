"""One guess at the tokens of an utterance, and where in time each token was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from keyframe_asr.text.tokenizer import BLANK


@dataclass(frozen=True)
class Hypothesis:
    """A sequence of tokens with its score.

    Attributes:
        tokens: ids without blank and end of sentence.
        score: log-probability of the sequence under whatever produced it, plus `external`.
        positions: for each token the column of the log-probabilities it was found at,
            non-decreasing; empty where the search does not know (attention decoder).
        confidences: for each token its probability, in [0, 1].
        external: what language model, hot words and token bonus added to the score.
        alternatives: the n best, this one first, where more than one was asked for.
    """

    tokens: tuple[int, ...] = ()
    score: float = 0.0
    positions: tuple[int, ...] = ()
    confidences: tuple[float, ...] = ()
    external: float = 0.0
    alternatives: tuple[Hypothesis, ...] = ()


def with_alternatives(ranked: Sequence[Hypothesis], count: int) -> Hypothesis:
    """The best of hypotheses sorted by score, carrying the best `count` if that is more than one.

    Nothing to choose from gives `EMPTY`.
    """
    best = ranked[0] if ranked else EMPTY
    return best if count <= 1 else replace(best, alternatives=tuple(ranked[:count]) or (EMPTY,))


EMPTY = Hypothesis()
"""Nothing was said."""


def padded(
    sequences: Sequence[Sequence[int]], device: torch.device, fill: int = BLANK
) -> tuple[Tensor, Tensor]:
    """Token ids (N, L), filled up to the longest sequence, and the lengths (N,)."""
    lengths = [len(one) for one in sequences]
    longest = max(lengths, default=0)
    rows = [[*one, *[fill] * (longest - len(one))] for one in sequences]
    ids = torch.tensor(rows, dtype=torch.long, device=device).reshape(len(rows), longest)
    return ids, torch.tensor(lengths, dtype=torch.long, device=device)
