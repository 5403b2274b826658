"""Results of recognition: plain values without tensors, the same for every engine.

Output formats lie below this module: they render any `TranscriptLike`, so that a `Transcript` can
offer them as methods.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from keyframe_asr.errors import KeyframeError
from keyframe_asr.formats import render
from keyframe_asr.formats.plain import fields_of
from keyframe_asr.formats.timed_text import normal_words
from keyframe_asr.transcript_parts import Alternative, Segment, Token, Word

__all__ = ["Alternative", "RecognitionResult", "Segment", "Token", "Transcript", "Word"]


@dataclass(frozen=True)
class Transcript:
    """The text of one recording.

    Attributes:
        text: the recognised text as it is displayed, empty if no speech was recognised. A
            pretrained decoder writes it with case, punctuation and digits.
        tokens: one entry per token, start times non-decreasing, all within the recording.
        duration: length of the recording in seconds.
        frame_reduction: fraction of encoder frames dropped before encoder 2, in [0, 1].
        words: tokens joined into words, in order.
        segments: the segments that were recognised as one unit, in order.
        alternatives: the n-best texts, best first, if more than one was requested.
        normal: the text in the model's text form; None where `text` is.
        language: tag of the language that a pretrained decoder heard, or was told; that of most
            speech if it changes. None where such a decoder was not run.
        keyframes: times in seconds of the encoder frames that were kept, ascending: where their
            spikes are, not corrected by the model's emission delay.
    """

    text: str
    tokens: list[Token] = field(default_factory=list)
    duration: float = 0.0
    frame_reduction: float = 0.0
    words: list[Word] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    alternatives: list[Alternative] = field(default_factory=list)
    normal: str | None = None
    language: str | None = None
    keyframes: list[float] = field(default_factory=list)

    @property
    def normal_text(self) -> str:
        """The text in the model's text form, in which it is scored."""
        return self.text if self.normal is None else self.normal

    @property
    def normal_words(self) -> list[Word]:
        """The words of the text in the model's form, with the times of the words displayed."""
        return normal_words(self.words)

    def to_dict(self) -> dict[str, object]:
        """The transcript as values for `json.dumps`: the fields that `keyframe transcribe` writes.

        Those of the recording and the model (`audio`, `model`, ...) are left out.
        """
        return fields_of(self)

    def to_srt(self) -> str:
        """Subtitles as the content of an SRT file; "" without words."""
        return render(self, "srt", "")

    def to_vtt(self) -> str:
        """Subtitles as the content of a WebVTT file."""
        return render(self, "vtt", "")


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
