"""Where the features of cuts come from: their recordings, read and changed as a cut asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch
from lhotse.augmentation import AudioTransform, Resample
from lhotse.cut import Cut
from torch import Tensor

from keyframe_asr.audio.features import FrontEnd
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.data.manifest import audio_path, is_part
from keyframe_asr.errors import ManifestError
from keyframe_asr.timing import SAMPLE_RATE

DURATION_TOLERANCE = 0.25
"""Seconds by which a recording may differ from its manifest: codecs pad, tables round."""


class Store(Protocol):
    """Where the features of cuts come from."""

    @property
    def width(self) -> int:
        """F, the width of the features."""

    @property
    def pre_encoded(self) -> bool:
        """Whether the features are outputs of a pretrained encoder."""

    def prepare(self, cuts: Iterable[Cut], say: Callable[[str], None]) -> None:
        """Do beforehand what is better done for many cuts at once; `say` what that takes."""

    def __call__(self, cut: Cut) -> Tensor:
        """Features (T, F) of a cut."""

    def samples(self, cut: Cut) -> Samples:
        """Samples (S,) of a cut, to be augmented: not to be written into."""

    def of_samples(self, samples: Samples) -> Tensor:
        """Features (T, F) of samples (S,), never kept."""


_Place = tuple[str, Path, float, float]


def _place(cut: Cut) -> _Place:
    return cut.id, audio_path(cut), cut.start, cut.duration


class FeatureStore:
    """Features and samples of cuts, on demand; if asked, what was asked for is kept in memory."""

    pre_encoded = False

    def __init__(self, front_end: FrontEnd, keep: bool) -> None:
        self._front_end = front_end
        # Names of cuts are unique in one manifest only, so the recording and the place in it are
        # parts of the key.
        self._kept: dict[_Place, Tensor] | None = {} if keep else None
        self._kept_samples: dict[_Place, Samples] | None = {} if keep else None

    @property
    def width(self) -> int:
        """F, the width of the features."""
        return self._front_end.width

    def prepare(self, cuts: Iterable[Cut], say: Callable[[str], None]) -> None:
        """Nothing to do."""

    def __call__(self, cut: Cut) -> Tensor:
        """Features (T, F) of a cut.

        Raises:
            AudioError: its recording cannot be read.
            ManifestError: its recording has another length than the manifest says.
        """
        key = _place(cut)
        if self._kept is not None and key in self._kept:
            return self._kept[key]
        features = self.of_samples(read_samples(cut))
        if self._kept is not None:
            self._kept[key] = features
        return features

    def samples(self, cut: Cut) -> Samples:
        """Samples (S,) of a cut, to be augmented: not to be written into.

        Raises:
            AudioError, ManifestError: as `read_samples` does.
        """
        if self._kept_samples is None:
            return read_samples(cut)
        key = _place(cut)
        if key not in self._kept_samples:
            self._kept_samples[key] = read_samples(cut)
        return self._kept_samples[key]

    def of_samples(self, samples: Samples) -> Tensor:
        """Features (T, F) of samples (S,); never kept, since those are likely to be random."""
        return torch.from_numpy(self._front_end(samples))


def read_samples(cut: Cut) -> Samples:
    """Samples (S,) of a cut at 16 kHz, mono, with the speed and whatever else it asks for.

    Raises:
        AudioError: its recording cannot be read.
        ManifestError: its recording has another length than the manifest says.
    """
    transforms = [
        AudioTransform.from_dict(one) if isinstance(one, dict) else one
        for one in cut.recording.transforms or ()
    ]
    samples = read_audio(audio_path(cut), *_place_in_file(cut, transforms))[None]
    for transform in transforms:
        # read_audio has resampled already, and resamplers cannot take nothing.
        if not isinstance(transform, Resample) and samples.size:
            samples = transform(samples, SAMPLE_RATE)
    seconds = samples.shape[1] / SAMPLE_RATE
    if abs(seconds - cut.duration) > DURATION_TOLERANCE:
        raise ManifestError(
            f"{audio_path(cut)}: utterance '{cut.id}' has {seconds:.2f} s of audio, but its "
            f"manifest says {cut.duration:.2f} s; correct the manifest or copy the recording again"
        )
    mono: Samples = samples[0]
    return mono


def _place_in_file(cut: Cut, transforms: list[AudioTransform]) -> tuple[float, float | None]:
    """Seconds of the file before the cut, and seconds it has there; None for all that follow.

    A cut's own times are those after its transforms: at speed 0.9 they are longer than the file's.
    """
    if not is_part(cut):
        return 0.0, None
    start, seconds = cut.start, cut.duration
    for transform in reversed(transforms):
        start, seconds = transform.reverse_timestamps(start, seconds, cut.sampling_rate)
    return start, seconds
