"""Augmentation of training data.

Applied in this order: speed perturbation, reverberation, noise, telephone, volume, SpecAugment.
Non-speech examples with empty text can be added to the utterances of the manifest. The SNR of noise
refers to the reverberant utterance, which has the same power as the dry one. Samples beyond full
scale are not clipped, because features do not need it and clipping would add another distortion.

Every random draw depends only on the seed of the recipe, the stage, the epoch, the kind of
augmentation and the name of the utterance. It does not depend on the batch, on the process that
loads the utterance, or on what was loaded before. So any number of loader processes gives the same
epoch, and a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import SpecAugment
from torch import Tensor

from keyframe_asr.audio.noise import excerpt, find_recordings, mix
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.audio.rooms import read_response, reverberate, simulate_room
from keyframe_asr.audio.telephone import telephone
from keyframe_asr.config.augment import AugmentConfig, NonSpeechConfig, ReverberationConfig
from keyframe_asr.data.feature_store import Store
from keyframe_asr.data.manifest import audio_path, make_cut
from keyframe_asr.errors import AudioError, RecipeError
from keyframe_asr.timing import SAMPLE_RATE

NON_SPEECH = "non_speech"
"""Custom field that marks a cut as an excerpt of noise."""

RESPONSES = "augment.reverberation.folder"
"""Recipe key of the folder of recorded impulse responses."""


@dataclass(frozen=True)
class Draws:
    """Source of the random generators for the data of an epoch."""

    seed: int
    stage: int
    epoch: int

    def generator(self, kind: str, name: str) -> np.random.Generator:
        """Return the generator for one kind of augmentation of one utterance; always the same."""
        key = f"{self.seed}/{self.stage}/{self.epoch}/{kind}/{name}"
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        return np.random.default_rng(int.from_bytes(digest, "big"))


def check_folders(config: AugmentConfig) -> None:
    """Raise `RecipeError` unless every folder named in the recipe contains recordings."""
    if config.noise is not None:
        find_recordings(config.noise.folder, "augment.noise.folder")
    if config.non_speech is not None:
        find_recordings(config.non_speech.folder, "augment.non_speech.folder")
    if config.reverberation is not None and config.reverberation.folder is not None:
        find_recordings(config.reverberation.folder, RESPONSES)


class Augmentation:
    """All augmentation in the `augment` section of a recipe.

    Args:
        config: the section.
        seed: seed of the recipe, also used to simulate rooms.

    Raises:
        RecipeError: a folder is missing or contains no recordings.
    """

    def __init__(self, config: AugmentConfig, seed: int) -> None:
        self._config = config
        self._waveform = WaveformAugmentation(config, seed)
        self._masking = FeatureMasking(config)
        self._recordings: list[Path] = []
        if config.non_speech is not None:
            folder = config.non_speech.folder
            self._recordings = find_recordings(folder, "augment.non_speech.folder")

    def cuts(self, cuts: CutSet, draws: Draws) -> CutSet:
        """Return the cuts of an epoch: the given cuts with perturbed speed, and noise examples."""
        perturbed = perturb_speeds(cuts, self._config.speeds, draws)
        return CutSet.from_cuts([*perturbed, *self.noise_examples(len(cuts), draws)])

    def speed(self, name: str, draws: Draws) -> float:
        """Draw the speed of the utterance called `name`."""
        return drawn_speed(name, self._config.speeds, draws)

    def noise_examples(self, speech: int, draws: Draws) -> Iterator[Cut]:
        """Yield the noise examples of an epoch with this number of utterances."""
        if (non_speech := self._config.non_speech) is not None:
            yield from noise_cuts(self._recordings, speech, non_speech, draws)

    @property
    def changes_samples(self) -> bool:
        """True if samples differ between epochs, or noise examples are added."""
        return self._waveform.enabled or self._config.non_speech is not None

    def features(self, cut: Cut, store: Store, draws: Draws) -> Tensor:
        """Return augmented features (T, F) of a cut.

        Raises:
            AudioError: a recording of speech or noise cannot be read.
            ManifestError: the length of the recording differs from the manifest.
        """
        return self.masked(self.unmasked(cut, store, draws), cut.id, draws)

    def unmasked(self, cut: Cut, store: Store, draws: Draws) -> Tensor:
        """Return features (T, F) before SpecAugment, for encoders whose outputs are masked."""
        if is_non_speech(cut):
            samples = read_excerpt(cut, draws)
        elif self._waveform.enabled:
            samples = store.samples(cut)
        else:
            return store(cut)
        return store.of_samples(self._waveform(samples, draws.generator("waveform", cut.id)))

    def masked(self, features: Tensor, name: str, draws: Draws) -> Tensor:
        """Apply SpecAugment to the features (T, F) of the cut called `name`."""
        return self._masking(features, draws.generator("masks", name))


class WaveformAugmentation:
    """Reverberation, noise, telephone lines and volume perturbation of samples.

    Impulse responses are simulated and read once, on construction.

    Raises:
        RecipeError: a folder is missing or contains no recordings, or a recording is not an impulse
            response.
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
    def enabled(self) -> bool:
        """True if any augmentation is enabled."""
        config = self._config
        kinds = (config.reverberation, config.noise, config.telephone, config.volume)
        return any(one is not None for one in kinds)

    def __call__(self, samples: Samples, generator: np.random.Generator) -> Samples:
        """Return augmented samples (S,) at 16 kHz; the input is not modified.

        Raises:
            AudioError: a noise recording cannot be read.
        """
        room, noise = self._config.reverberation, self._config.noise
        line, volume = self._config.telephone, self._config.volume
        if room is not None and generator.random() < room.probability:
            samples = reverberate(samples, self._rooms[generator.integers(len(self._rooms))])
        if noise is not None and generator.random() < noise.probability:
            recording = read_audio(self._noises[generator.integers(len(self._noises))])
            added = excerpt(recording, samples.size, generator)
            samples = mix(samples, added, generator.uniform(*noise.snr_db))
        if line is not None and generator.random() < line.probability:
            samples = telephone(samples)
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


def perturb_speeds(cuts: CutSet, speeds: list[float], draws: Draws) -> CutSet:
    """Perturb the speed of each cut by a factor drawn from `speeds`."""
    return CutSet.from_cuts(at_speed(cut, drawn_speed(cut.id, speeds, draws)) for cut in cuts)


def drawn_speed(name: str, speeds: list[float], draws: Draws) -> float:
    """Draw the speed of an utterance from `speeds`."""
    if len(speeds) == 1:
        return speeds[0]
    return speeds[draws.generator("speed", name).integers(len(speeds))]


def at_speed(cut: Cut, speed: float) -> Cut:
    """Perturb the speed of a cut; 1.1 is 10 % faster."""
    return cut if speed == 1.0 else cut.perturb_speed(speed)


def noise_cuts(
    recordings: list[Path], speech: int, config: NonSpeechConfig, draws: Draws
) -> Iterator[Cut]:
    """Yield cuts of noise with empty text, so that they make up `config.share` of all cuts.

    Args:
        recordings: noise to draw from.
        speech: number of speech utterances in the epoch.
        config: share and durations of the noise cuts.
        draws: source of random numbers.

    Each cut stands for an excerpt of its recording with the duration of the cut; see
    `read_excerpt`.
    """
    for number in range(round(speech * config.share / (1 - config.share))):
        name = f"{NON_SPEECH}-{number:05d}"
        generator = draws.generator("non-speech", name)
        recording = recordings[generator.integers(len(recordings))]
        size = round(generator.uniform(*config.seconds) * SAMPLE_RATE)
        yield make_cut(name, "", "", recording, size).with_custom(NON_SPEECH, True)


def is_non_speech(cut: Cut) -> bool:
    """True if a cut was made by `noise_cuts`."""
    return bool((cut.custom or {}).get(NON_SPEECH))


def read_excerpt(cut: Cut, draws: Draws) -> Samples:
    """Read the samples (S,) of a cut made by `noise_cuts`.

    Raises:
        AudioError: the recording cannot be read.
    """
    recording = read_audio(audio_path(cut))
    generator = draws.generator("excerpt", cut.id)
    return excerpt(recording, round(cut.duration * SAMPLE_RATE), generator)


class FeatureMasking:
    """SpecAugment (arXiv 1904.08779), applied per utterance so that padding has no effect."""

    def __init__(self, config: AugmentConfig) -> None:
        # lhotse divides the frames that may be masked by the number of masks; it fails below 1
        self._shortest = config.time_masks / config.time_mask_share
        self._transform = SpecAugment(
            time_warp_factor=config.time_warp_frames,
            num_feature_masks=config.frequency_masks,
            features_mask_size=config.frequency_mask_bins,
            num_frame_masks=config.time_masks,
            frames_mask_size=config.time_mask_frames,
            max_frames_mask_fraction=config.time_mask_share,
            p=config.spec_augment,
        )

    def __call__(self, features: Tensor, generator: np.random.Generator) -> Tensor:
        """Return a masked copy of features (T, F); too short features are returned unchanged."""
        if features.size(0) < self._shortest:
            return features
        with _global_generators(int(generator.integers(2**32))):
            masked: Tensor = self._transform(features.unsqueeze(0))
        return masked.squeeze(0)


@contextmanager
def _global_generators(seed: int) -> Iterator[None]:
    """Seed the global generators that SpecAugment draws from, and restore their state afterwards.

    Without worker processes, dropout draws from the same torch generator between batches.
    """
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])
