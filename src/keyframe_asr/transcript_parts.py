"""What a transcript is made of: plain values, the same for every engine and output format."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Token:
    """One recognised token: `text`, `start` and `end` in seconds, `confidence` in [0, 1]."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Word:
    """One word; in scripts without spaces, one character with its marks. Fields as in `Token`."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    """A segment of speech that was recognised as one unit: `start` and `end` in seconds."""

    text: str
    start: float
    end: float
    tokens: list[Token] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)


@dataclass(frozen=True)
class Alternative:
    """One of the n-best texts of a recording; a higher `score` is more likely."""

    text: str
    score: float
