"""Results of recognition: plain values without tensors, the same for every engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from keyframe_asr.errors import KeyframeError


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


@dataclass(frozen=True)
class Transcript:
    """The text of one recording.

    Attributes:
        text: the recognised text, empty if no speech was recognised.
        tokens: one entry per token, start times non-decreasing, all within the recording.
        duration: length of the recording in seconds.
        frame_reduction: fraction of encoder frames dropped before encoder 2, in [0, 1].
        words: tokens joined into words, in order.
        segments: the segments that were recognised as one unit, in order.
        alternatives: the n-best texts, best first, if more than one was requested.
    """

    text: str
    tokens: list[Token] = field(default_factory=list)
    duration: float = 0.0
    frame_reduction: float = 0.0
    words: list[Word] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    alternatives: list[Alternative] = field(default_factory=list)


@dataclass(frozen=True)
class RecognitionResult:
    """The result for one recording of several: a transcript or an error.

    Attributes:
        index: position of the recording in the input.
        path: its file; None for an array of samples.
        transcript: None if there is an error.
        error: None if there is a transcript.
    """

    index: int
    path: Path | None
    transcript: Transcript | None = None
    error: KeyframeError | None = None

    def unwrap(self) -> Transcript:
        """Return the transcript, or raise the error."""
        if self.error is not None:
            raise self.error
        assert self.transcript is not None  # exactly one of the two is set
        return self.transcript
