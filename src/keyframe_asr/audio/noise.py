"""Noise: the recordings of a folder, excerpts of any length, and mixing at a given ratio."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from lhotse.audio.mixer import AudioMixer

from keyframe_asr.audio.reading import Samples
from keyframe_asr.errors import RecipeError
from keyframe_asr.timing import SAMPLE_RATE

_ENDINGS = {f".{name.lower()}" for name in soundfile.available_formats()} | {
    ".oga",
    ".opus",
    ".aif",
}


def find_recordings(folder: Path | str, key: str) -> list[Path]:
    """Audio files in a folder and below it, in the order of their paths relative to it.

    Args:
        folder: where to look; hidden files are left alone.
        key: of the recipe, for what is said of a bad folder.

    Raises:
        RecipeError: there is no such folder, or no recording in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RecipeError(f"{key}: {folder}: no such folder; give one that holds recordings")
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in _ENDINGS and not path.name.startswith(".") and path.is_file()
    )
    if not found:
        raise RecipeError(
            f"{key}: {folder}: holds no recordings; put wav, flac, mp3, ogg or opus files into it"
        )
    return [folder / name for name in found]


def excerpt(recording: Samples, size: int, generator: np.random.Generator) -> Samples:
    """`size` samples from a random place of a recording (S,), which is repeated as it is needed.

    A longer recording is not taken beyond its end; one without a sample is silence.
    """
    if not recording.size:
        return np.zeros(size, dtype=np.float32)
    if recording.size >= size:
        start = int(generator.integers(recording.size - size + 1))
        return recording[start : start + size].copy()
    start = int(generator.integers(recording.size))
    return np.resize(np.roll(recording, -start), size)


def mix(samples: Samples, noise: Samples, snr_db: float) -> Samples:
    """Samples (S,) with noise (S,) added to them, `snr_db` softer than they are.

    The ratio is that of mean powers over the whole length, pauses included. Beside digital silence
    noise is as loud as it was recorded; silent noise changes nothing.
    """
    if not samples.size:
        return samples
    mixer = AudioMixer(samples[None], SAMPLE_RATE)
    mixer.add_to_mix(noise[None], snr=snr_db)
    mixed: Samples = mixer.mixed_audio[0].astype(np.float32)
    return mixed
