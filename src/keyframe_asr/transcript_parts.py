"""What a transcript is made of: plain values, the same for every engine and output format.

A text may have two forms: `text`, as it is displayed, and the normal text, in the model's text
form, in which it is scored. `normal` is None where both are the same.
"""

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
    """One word; in scripts without spaces, one character with its marks. Fields as in `Token`.

    Punctuation belongs to the word that it stands next to.
    """

    text: str
    start: float
    end: float
    confidence: float
    normal: str | None = None

    @property
    def normal_text(self) -> str:
        """The word as it is scored; "" if it is nothing but punctuation."""
        return self.text if self.normal is None else self.normal


@dataclass(frozen=True)
class Segment:
    """A segment of speech that was recognised as one unit.

    `start` and `end` are in seconds; `language` is the tag of the one that the decoder heard, or
    was told, if it knows several.
    """

    text: str
    start: float
    end: float
    tokens: list[Token] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    normal: str | None = None
    language: str | None = None

    @property
    def normal_text(self) -> str:
        """The text as it is scored."""
        return self.text if self.normal is None else self.normal


@dataclass(frozen=True)
class Alternative:
    """One of the n-best texts of a recording; a higher `score` is more likely."""

    text: str
    score: float
