"""Augmentation of samples: a room, noise and another volume, in this order, as a recipe asks.

Noise is thus as loud as asked beside the reverberant utterance, which has the power of the dry one.
Values beyond full scale are not clipped: features can be computed of them, and clipping would be
one more distortion.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from keyframe_asr.audio.noise import excerpt, find_recordings, mix
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.audio.rooms import reverberate, simulate_room
from keyframe_asr.config.augment import AugmentConfig


class WaveformAugmentation:
    """Reverberation, noise and volume, whichever the recipe has; rooms are simulated once, here.

    Raises:
        RecipeError: the folder of noise is missing or holds no recordings.
    """

    def __init__(self, config: AugmentConfig, seed: int) -> None:
        self._config = config
        self._noises: list[Path] = []
        self._rooms: list[Samples] = []
        if config.noise is not None:
            self._noises = find_recordings(config.noise.folder, "augment.noise.folder")
        if (reverberation := config.reverberation) is not None:
            for number in range(reverberation.rooms):
                generator = np.random.default_rng([abs(seed), number])
                decay = generator.uniform(*reverberation.decay_seconds)
                self._rooms.append(simulate_room(decay, generator))

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
