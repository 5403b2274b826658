"""Stores that compute the features of cuts from their recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch
from lhotse.augmentation import AudioTransform, Resample
from lhotse.cut import Cut
from torch import Tensor

from keyframe_asr.audio.archives import ArchivedAudio
from keyframe_asr.audio.byte_source import name_of
from keyframe_asr.audio.features import FrontEnd
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.data.manifest import audio_channel, audio_of, is_part
from keyframe_asr.errors import ManifestError
from keyframe_asr.timing import SAMPLE_RATE

DURATION_TOLERANCE = 0.25
"""Seconds by which the length of a recording may differ from its manifest: codecs pad, tables
round."""


class Store(Protocol):
    """Source of the features of cuts."""

    @property
    def width(self) -> int:
        """F, the width of the features."""

    @property
    def pre_encoded(self) -> bool:
        """True if the features are outputs of a pretrained encoder."""

    def prepare(self, cuts: Iterable[Cut], say: Callable[[str], None]) -> None:
        """Precompute what is faster for many cuts at once; log progress with `say`."""

    def __call__(self, cut: Cut) -> Tensor:
        """Return the features (T, F) of a cut."""

    def samples(self, cut: Cut) -> Samples:
        """Return the samples (S,) of a cut, for augmentation; do not modify them."""

    def of_samples(self, samples: Samples) -> Tensor:
        """Compute the features (T, F) of samples (S,), without caching."""


_Place = tuple[str, Path | ArchivedAudio, float, float, int | None]


def _place(cut: Cut) -> _Place:
    return cut.id, audio_of(cut), cut.start, cut.duration, audio_channel(cut)


class FeatureStore:
    """Features and samples of cuts, computed on demand and, if `keep`, cached in memory."""

    pre_encoded = False

    def __init__(self, front_end: FrontEnd, keep: bool) -> None:
        self._front_end = front_end
        # names of cuts are unique only within a manifest, so the key includes the recording and
        # the position in it
        self._kept: dict[_Place, Tensor] | None = {} if keep else None
        self._kept_samples: dict[_Place, Samples] | None = {} if keep else None

    @property
    def width(self) -> int:
        """F, the width of the features."""
        return self._front_end.width

    @property
    def level(self) -> float | None:
        """Level to which recordings are brought, in decibels; None leaves them as they are."""
        return self._front_end.level

    def prepare(self, cuts: Iterable[Cut], say: Callable[[str], None]) -> None:
        """Do nothing: features are computed on demand."""

    def __call__(self, cut: Cut) -> Tensor:
        """Return the features (T, F) of a cut.

        Raises:
            AudioError: the recording cannot be read.
            ManifestError: the length of the recording differs from the manifest.
        """
        key = _place(cut)
        if self._kept is not None and key in self._kept:
            return self._kept[key]
        features = self.of_samples(read_samples(cut))
        if self._kept is not None:
            self._kept[key] = features
        return features

    def samples(self, cut: Cut) -> Samples:
        """Return the samples (S,) of a cut, for augmentation; do not modify them.

        Raises:
            AudioError, ManifestError: as `read_samples`.
        """
        if self._kept_samples is None:
            return read_samples(cut)
        key = _place(cut)
        if key not in self._kept_samples:
            self._kept_samples[key] = read_samples(cut)
        return self._kept_samples[key]

    def of_samples(self, samples: Samples) -> Tensor:
        """Compute the features (T, F) of samples (S,); not cached, as they are usually random."""
        return torch.from_numpy(self._front_end(samples))


def read_samples(cut: Cut) -> Samples:
    """Read the samples (S,) of a cut, mono at 16 kHz, with its transforms (such as speed) applied.

    Raises:
        AudioError: the recording cannot be read.
        ManifestError: the length of the recording differs from the manifest.
    """
    samples = read_audio(audio_of(cut), *place_in_file(cut), audio_channel(cut))[None]
    for transform in _transforms(cut):
        # read_audio has already resampled, and resamplers fail on empty input
        if not isinstance(transform, Resample) and samples.size:
            samples = transform(samples, SAMPLE_RATE)
    check_duration(cut, samples.shape[1] / SAMPLE_RATE)
    mono: Samples = samples[0]
    return mono


def check_duration(cut: Cut, seconds: float) -> None:
    """Raise `ManifestError` if a cut has another length than its manifest says."""
    if abs(seconds - cut.duration) > DURATION_TOLERANCE:
        raise ManifestError(
            f"{name_of(audio_of(cut))}: utterance '{cut.id}' has {seconds:.2f} s of audio, but the "
            f"manifest says {cut.duration:.2f} s; correct the manifest or copy the recording again"
        )


def place_in_file(cut: Cut) -> tuple[float, float | None]:
    """Start and duration of the cut in its file, in seconds; duration None is up to the end.

    The times of a cut are after its transforms: at speed 0.9 they are longer than in the file.
    """
    if not is_part(cut):
        return 0.0, None
    start, seconds = cut.start, cut.duration
    for transform in reversed(_transforms(cut)):
        start, seconds = transform.reverse_timestamps(start, seconds, cut.sampling_rate)
    return start, seconds


def _transforms(cut: Cut) -> list[AudioTransform]:
    return [
        AudioTransform.from_dict(one) if isinstance(one, dict) else one
        for one in cut.recording.transforms or ()
    ]
