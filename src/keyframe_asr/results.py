"""What recognition returns: plain values without tensors, equal whichever engine made them."""

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
    """One word (for Mandarin: one character or run of Latin letters); fields as in `Token`."""

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True)
class Segment:
    """A stretch of speech that was recognised at once: `start` and `end` in seconds."""

    text: str
    start: float
    end: float
    tokens: list[Token] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)


@dataclass(frozen=True)
class Alternative:
    """One of the n best texts of a recording; of two, the one with the higher score is likelier."""

    text: str
    score: float


@dataclass(frozen=True)
class Transcript:
    """The text of one recording.

    Attributes:
        text: the recognised text, empty when nothing was said.
        tokens: one entry per token, start times non-decreasing, all within the recording.
        duration: length of the recording in seconds.
        frame_reduction: share of encoder frames that encoder 2 never saw, in [0, 1].
        words: tokens joined into words, in order.
        segments: the stretches of speech that were recognised at once, in order.
        alternatives: the n best texts, the best first, where more than one was asked for.
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
    """What became of one recording among several: a transcript, or what is wrong with it.

    Attributes:
        index: place of the recording among those given.
        path: its file; None if samples were given.
        transcript: None if there is an error.
        error: None if there is a transcript.
    """

    index: int
    path: Path | None
    transcript: Transcript | None = None
    error: KeyframeError | None = None

    def unwrap(self) -> Transcript:
        """The transcript. Raises the error if there is none."""
        if self.error is not None:
            raise self.error
        assert self.transcript is not None  # one of the two is there
        return self.transcript
