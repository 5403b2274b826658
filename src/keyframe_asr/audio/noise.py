"""Noise: find recordings in a folder, cut excerpts, and mix at a given signal-to-noise ratio."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from keyframe_asr.audio.reading import Samples
from keyframe_asr.audio.suffixes import readable_suffixes
from keyframe_asr.errors import RecipeError
from keyframe_asr.timing import SAMPLE_RATE


def find_recordings(folder: Path | str, key: str) -> list[Path]:
    """List the audio files in a folder and its subfolders, sorted by relative path.

    Args:
        folder: folder to search; hidden files are skipped.
        key: recipe key to name in errors.

    Raises:
        RecipeError: the folder does not exist or contains no recordings.
    """
    folder = Path(folder)
    if not os.path.isdir(folder):
        raise RecipeError(f"{key}: {folder}: no such folder; give a folder of recordings")
    suffixes = readable_suffixes()
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise RecipeError(
            f"{key}: {folder}: contains no recordings; add WAV, FLAC, MP3, Ogg or Opus files"
        )
    return [folder / name for name in found]


def excerpt(recording: Samples, size: int, generator: np.random.Generator) -> Samples:
    """Cut `size` samples from a random position of a recording (S,).

    A recording shorter than `size` is repeated; an empty recording gives silence.
    """
    if not recording.size:
        return np.zeros(size, dtype=np.float32)
    if recording.size >= size:
        start = int(generator.integers(recording.size - size + 1))
        return recording[start : start + size].copy()
    start = int(generator.integers(recording.size))
    return np.resize(np.roll(recording, -start), size)


def mix(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add noise (S,) to samples (S,) at a signal-to-noise ratio of `snr_db`.

    The ratio is that of the mean powers over the whole length, pauses included. If the samples are
    digital silence, the noise is added unscaled; silent noise changes nothing.
    """
    if not samples.size:
        return samples
    from lhotse.audio.mixer import AudioMixer  # lhotse needs torch, and recognition does without

    mixer = AudioMixer(samples[None], SAMPLE_RATE)
    mixer.add_to_mix(noise[None], snr=snr_db)
    mixed: Samples = mixer.mixed_audio[0].astype(np.float32)
    return mixed
