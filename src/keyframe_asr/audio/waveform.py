"""Augmentation of samples: a room, noise and another volume, in this order, as a recipe asks.

Noise is thus as loud as asked beside the reverberant utterance, which has the power of the dry one.
Values beyond full scale are not clipped: features can be computed of them, and clipping would be
one more distortion.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keyframe_asr.audio.noise import excerpt, find_recordings, mix
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.audio.rooms import read_response, reverberate, simulate_room
from keyframe_asr.config.augment import AugmentConfig, ReverberationConfig
from keyframe_asr.errors import AudioError, RecipeError

RESPONSES = "augment.reverberation.folder"
"""What a recipe calls the folder of recorded impulse responses."""


class WaveformAugmentation:
    """Reverberation, noise and volume, whichever the recipe has.

    Rooms are simulated, and recorded ones read, once, here.

    Raises:
        RecipeError: a folder is missing or holds no recordings, or one is no impulse response.
    """

    def __init__(self, config: AugmentConfig, seed: int) -> None:
        self._config = config
        self._noises: list[Path] = []
        self._rooms: list[Samples] = []
        if config.noise is not None:
            self._noises = find_recordings(config.noise.folder, "augment.noise.folder")
        if (rooms := config.reverberation) is not None:
            self._rooms = [*_simulated(rooms, seed), *_recorded(rooms)]

    @property
    def is_on(self) -> bool:
        """Whether there is anything to do."""
        config = self._config
        return any(one is not None for one in (config.reverberation, config.noise, config.volume))

    def __call__(self, samples: Samples, generator: np.random.Generator) -> Samples:
        """Samples (S,) at 16 kHz to augmented ones (S,); those given are not changed.

        Raises:
            AudioError: a recording of noise cannot be read.
        """
        room, noise, volume = self._config.reverberation, self._config.noise, self._config.volume
        if room is not None and generator.random() < room.probability:
            samples = reverberate(samples, self._rooms[generator.integers(len(self._rooms))])
        if noise is not None and generator.random() < noise.probability:
            recording = read_audio(self._noises[generator.integers(len(self._noises))])
            added = excerpt(recording, samples.size, generator)
            samples = mix(samples, added, generator.uniform(*noise.snr_db))
        if volume is not None and generator.random() < volume.probability:
            gain = 10 ** (generator.uniform(*volume.gain_db) / 20)
            samples = (samples * gain).astype(np.float32)
        return samples


def _simulated(config: ReverberationConfig, seed: int) -> Iterator[Samples]:
    for number in range(config.rooms):
        generator = np.random.default_rng([abs(seed), number])
        decay = generator.uniform(*config.decay_seconds)
        yield simulate_room(decay, generator)


def _recorded(config: ReverberationConfig) -> Iterator[Samples]:
    if config.folder is None:
        return
    for path in find_recordings(config.folder, RESPONSES):
        try:
            yield read_response(path)
        except AudioError as error:
            raise RecipeError(f"{RESPONSES}: {error}") from None
