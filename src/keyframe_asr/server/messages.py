"""What the server and the processes that recognise tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from keyframe_asr.inference.options import RecognitionOptions, StreamOptions
from keyframe_asr.results import Segment, Transcript
from keyframe_asr.server.service import LiveUpdate, ModelFacts


@dataclass(frozen=True)
class BeginUpload:
    """Recognise a recording.

    Attributes:
        job: number of the job.
        model: its name.
        options: how it is recognised.
        longest: seconds of audio that are allowed.
        samples: (S,) at 16 kHz; None if a file follows.
        prompt: further hot words that the model may use.
    """

    job: int
    model: str
    options: RecognitionOptions
    longest: float
    samples: npt.NDArray[np.float32] | None = None
    prompt: tuple[str, ...] = ()


@dataclass(frozen=True)
class BeginStream:
    """Open a stream of this sample rate in hertz; `prompt` is as in `BeginUpload`."""

    job: int
    model: str
    options: StreamOptions
    sample_rate: int
    prompt: tuple[str, ...] = ()


@dataclass(frozen=True)
class MoreSamples:
    """The next samples (S,) of a stream."""

    job: int
    samples: npt.NDArray[Any]


@dataclass(frozen=True)
class EndStream:
    """Nothing follows in a stream."""

    job: int


@dataclass(frozen=True)
class Cancel:
    """Nobody waits for a job any more."""

    job: int


Order: TypeAlias = BeginUpload | BeginStream | MoreSamples | EndStream | Cancel


@dataclass(frozen=True)
class Loaded:
    """The models are loaded, and each has recognised something."""

    models: tuple[ModelFacts, ...]


@dataclass(frozen=True)
class NotLoaded:
    """A model cannot be loaded; the process has ended."""

    error: Exception


@dataclass(frozen=True)
class MoreText:
    """The next segments of an upload, and what they add to its text."""

    job: int
    text: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Recognised:
    """An upload has been recognised."""

    job: int
    transcript: Transcript


@dataclass(frozen=True)
class Opened:
    """A stream has been opened."""

    job: int


@dataclass(frozen=True)
class Updated:
    """What is new in a stream."""

    job: int
    update: LiveUpdate


@dataclass(frozen=True)
class Failed:
    """A job has ended with an error."""

    job: int
    error: Exception


Report: TypeAlias = Loaded | NotLoaded | MoreText | Recognised | Opened | Updated | Failed
