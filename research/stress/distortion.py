"""Degrade speech for measurements: noise, reverberation, speed, telephone, clipping.

Augmentation of training data is in `keyframe_asr.data.augment`. Random choices depend on the name
of the utterance alone, so that every system gets the same input, with the same noise at every
level. Samples beyond full scale are only clipped by `clipping`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from keyframe_asr.audio.noise import excerpt, mix
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.audio.rooms import reverberate, simulate_room
from keyframe_asr.audio.telephone import telephone
from keyframe_asr.data.augment import Draws
from keyframe_asr.timing import SAMPLE_RATE
from research.definition import StressName

ROOMS = 5
"""Number of simulated rooms per decay time."""


class Distortion:
    """One kind of distortion at one level.

    Args:
        kind: the kind of distortion.
        level: `noise`: signal-to-noise ratio in dB; `room`: decay time (RT60) in seconds; `speed`:
            factor, changing the pitch as lhotse and Kaldi do; `telephone`: highest frequency in Hz;
            `clipping`: dB below the peak of the utterance at which samples are clipped.
        noises: noise recordings to choose from, for `noise` only.
    """

    def __init__(self, kind: StressName, level: float, noises: list[Path]) -> None:
        self._kind, self._level, self._noises = kind, level, noises
        self._rooms: list[Samples] = []
        if kind == "room":
            for number in range(ROOMS):
                generator = np.random.default_rng([number, round(1000 * level)])
                self._rooms.append(simulate_room(level, generator))

    def __call__(self, samples: Samples, name: str) -> Samples:
        """Distort the samples (S,) at 16 kHz of the utterance of this name.

        Raises:
            AudioError: a noise recording cannot be read.
        """
        if not samples.size:
            return samples
        generator = Draws(seed=0, stage=0, epoch=0).generator(self._kind, name)
        if self._kind == "noise":
            recording = read_audio(self._noises[generator.integers(len(self._noises))])
            return mix(samples, excerpt(recording, samples.size, generator), self._level)
        if self._kind == "room":
            return reverberate(samples, self._rooms[generator.integers(len(self._rooms))])
        if self._kind == "speed":
            return _as_float32(soxr.resample(samples, SAMPLE_RATE * self._level, SAMPLE_RATE))
        if self._kind == "telephone":
            return telephone(samples, self._level)
        limit = float(np.abs(samples).max()) * 10 ** (-self._level / 20)
        return _as_float32(np.clip(samples, -limit, limit))


def _as_float32(samples: npt.NDArray[np.floating]) -> Samples:
    found: Samples = np.ascontiguousarray(samples, dtype=np.float32)
    return found
