"""Where a transcript comes from: a recording, and what recognised it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from keyframe_asr.transcript_parts import Alternative, Segment, Token, Word


class TranscriptLike(Protocol):
    """What can be rendered; `keyframe_asr.results.Transcript` says what the fields mean."""

    @property
    def text(self) -> str:
        """The whole text."""

    @property
    def duration(self) -> float:
        """Length of the recording in seconds."""

    @property
    def frame_reduction(self) -> float:
        """Fraction of encoder frames dropped."""

    @property
    def tokens(self) -> list[Token]:
        """Tokens with times."""

    @property
    def words(self) -> list[Word]:
        """Words with times."""

    @property
    def segments(self) -> list[Segment]:
        """Parts that were recognised as one unit."""

    @property
    def alternatives(self) -> list[Alternative]:
        """The n-best texts."""

    @property
    def normal(self) -> str | None:
        """The text as it is scored, if that is another."""

    @property
    def language(self) -> str | None:
        """Tag of the language that was heard."""


@dataclass(frozen=True)
class Source:
    """The recording of a transcript, and what recognised it.

    Attributes:
        name: of the recording, usually its path; `audio` in JSON.
        id: the file field of CTM; None is the name without folder and suffix.
        channel: of the recording, counted from 1, for CTM; 1 also if all were averaged.
        settings: further fields of JSON, such as the model and the decode mode.
    """

    name: str
    id: str | None = None
    channel: int = 1
    settings: Mapping[str, object] = field(default_factory=dict)
