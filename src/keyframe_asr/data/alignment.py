"""How much audio CTC needs to align a text with it (Graves et al., 2006)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def frames_needed(tokens: Sequence[object]) -> int:
    """Frames of the shortest alignment: one a token, and a blank between equal neighbours."""
    return len(tokens) + sum(first == second for first, second in pairwise(tokens))
