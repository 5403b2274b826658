"""What the routes of a server use to recognise: `server.workers` does it in other processes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.options import RecognitionOptions, StreamOptions
from keyframe_asr.inference.streaming import StreamUpdate
from keyframe_asr.results import Segment, Transcript


@dataclass(frozen=True)
class ModelFacts:
    """What clients may know of a model that is loaded.

    Attributes:
        name: what clients call it.
        created: time of its files, in seconds since 1970.
        languages: tags of the languages that it writes; one, or those of a pretrained decoder.
        streams: it goes on where it stopped; others read an utterance again while it is spoken.
        sample_rate: in hertz; other rates are resampled.
        frame_seconds: seconds between encoder frames.
        emission_delay: seconds from the start of a token to its keyframe.
    """

    name: str
    created: int
    languages: tuple[str, ...]
    streams: bool
    sample_rate: int
    frame_seconds: float
    emission_delay: float


@dataclass(frozen=True)
class PartOfTranscript:
    """The next segments of an upload, while it is being recognised.

    Attributes:
        text: of all segments so far; what the transcript begins with.
        segments: those that are new.
    """

    text: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class LiveUpdate:
    """What is new in a stream.

    Attributes:
        seconds: of the stream that have been heard.
        update: what is new after them.
        speech_start: when the current utterance began, in seconds of the stream; None in silence.
        last: the stream has ended, and this is the last update.
    """

    seconds: float
    update: StreamUpdate
    speech_start: float | None = None
    last: bool = False


class ServerBusyError(KeyframeError):
    """The server has as much work as it may have; the client may try again later (429)."""


class ServerFullError(KeyframeError):
    """All streams are taken, or the server is about to stop (503)."""


class WorkerError(KeyframeError):
    """A process that recognises has died (500)."""


class UnknownModelError(KeyframeError):
    """The server does not serve this model (404)."""

    @classmethod
    def of(cls, name: str, models: Iterable[str]) -> UnknownModelError:
        """Return the error of a name that a client gave, which names those that are served."""
        known = ", ".join(models) or "none yet"
        return cls(f"model '{name[:100]}' is not served here; use one of: {known}")


class TooLongError(KeyframeError):
    """A recording is longer than the server allows, in bytes or in seconds (413)."""


class AccessError(KeyframeError):
    """A client that does not show a key (401)."""


class OriginError(KeyframeError):
    """A page of another origin, which the server does not serve (403)."""


class SlowClientError(KeyframeError):
    """A client that does not send what it has announced (408)."""


class LiveStream(Protocol):
    """A stream that is being recognised."""

    async def send(self, samples: npt.NDArray[Any]) -> None:
        """Add samples (S,), mono, int16 or floats; waits while recognition is far behind.

        Raises:
            WorkerError: the process that recognises the stream has died.
            AudioError: the samples are not finite, or of another type.
        """

    def updates(self) -> AsyncIterator[LiveUpdate]:
        """Yield what is new, also if it is nothing, so that times go on; ends after `finish`.

        Raises:
            WorkerError: the process that recognises the stream has died.
        """

    async def finish(self) -> None:
        """Say that nothing follows; the last updates come then."""

    def close(self) -> None:
        """Forget the stream; its work ends. May be called at any time, and twice."""


class RecognitionService(Protocol):
    """Recognises uploads and streams for many clients."""

    @property
    def models(self) -> Mapping[str, ModelFacts]:
        """The models by name; the first is the default."""

    @property
    def ready(self) -> bool:
        """True if the models are loaded and one recognition has been done."""

    @property
    def max_streams(self) -> int:
        """Number of streams that may be open."""

    def transcribe(
        self,
        model: str,
        audio: BinaryIO | npt.NDArray[np.float32],
        options: RecognitionOptions,
        prompt: Sequence[str] = (),
    ) -> AsyncGenerator[PartOfTranscript | Transcript]:
        """Yield parts while a recording is recognised, and last its transcript.

        What is iterated no more (`aclose`) is no longer recognised.

        Args:
            model: a name in `models`.
            audio: an open file of the system (it has a `fileno`), or samples (S,) at 16 kHz.
            options: how it is recognised.
            prompt: further hot words; those that the model cannot write or use are left out.

        Raises:
            UnknownModelError, ServerBusyError, ServerFullError, WorkerError, TooLongError
            AudioError: the recording cannot be read.
            KeyframeError: the model cannot recognise with these options.
        """

    async def open_stream(
        self, model: str, options: StreamOptions, sample_rate: int, prompt: Sequence[str] = ()
    ) -> LiveStream:
        """Open a stream; `prompt` is as in `transcribe`.

        Raises:
            UnknownModelError, ServerFullError, WorkerError
            KeyframeError: as in `Recognizer.start_stream`.
        """
