"""Non-speech audio: synthetic noise, and recordings from a folder.

Synthetic noise is silence, hum, tones, melodies, coloured noise and clicks, each at three levels.
The same seed gives the same samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.noise import find_recordings
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.timing import SAMPLE_RATE

Wave = npt.NDArray[np.float64]

LEVELS_DB = (-10.0, -30.0, -50.0)
"""Peak relative to full scale."""

LOWEST_NOTE = 110.0
NOTE_SECONDS = 0.4


@dataclass(frozen=True)
class NonSpeech:
    """A non-speech recording: its `kind`, a unique `name`, samples (S,) at 16 kHz."""

    kind: str
    name: str
    samples: Samples


def make_synthetic_noise(seconds: float = 5.0, seed: int = 0) -> Iterator[NonSpeech]:
    """Yield every kind of synthetic noise at every level, each `seconds` long."""
    size = round(seconds * SAMPLE_RATE)
    yield NonSpeech("silence", "digital silence", np.zeros(size, dtype=np.float32))
    for number, (kind, make) in enumerate(KINDS.items()):
        for place, level in enumerate(LEVELS_DB):
            wave = make(size, np.random.default_rng([seed, number, place]))
            scale = 10 ** (level / 20) / max(float(np.abs(wave).max(initial=0.0)), 1e-9)
            yield NonSpeech(kind, f"{kind} at {level:g} dB", (scale * wave).astype(np.float32))


def _seconds(size: int) -> Wave:
    return np.arange(size) / SAMPLE_RATE


def _dither(size: int, generator: np.random.Generator) -> Wave:
    """Noise with a slowly varying level, like a recorder in a quiet room."""
    slow = 1 + 0.5 * np.sin(2 * np.pi * generator.uniform(0.05, 0.2) * _seconds(size))
    return np.asarray(slow * generator.normal(size=size))


def _hum(size: int, generator: np.random.Generator) -> Wave:
    """Mains hum with overtones."""
    time, mains = _seconds(size), generator.choice([50.0, 60.0])
    waves = (np.sin(2 * np.pi * mains * k * time) / k for k in range(1, 8))
    return np.asarray(sum(waves) + 0.02 * generator.normal(size=size))


def _tone(size: int, generator: np.random.Generator) -> Wave:
    return np.asarray(np.sin(2 * np.pi * generator.uniform(100, 3000) * _seconds(size)))


def _sweep(size: int, generator: np.random.Generator) -> Wave:
    """A tone that rises and falls between 200 and 1800 Hz."""
    period = generator.uniform(2.0, 6.0)
    pitch = 1000 - 800 * np.cos(2 * np.pi * _seconds(size) / period)
    return np.asarray(np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE))


def _melody(size: int, generator: np.random.Generator) -> Wave:
    """Plucked notes over two octaves; every fourth is a chord of three."""
    length = round(NOTE_SECONDS * SAMPLE_RATE)
    time, notes = _seconds(length), []
    for number in range(-(-size // length)):
        chord = (0, 4, 7) if number % 4 == 0 else (0,)
        root = int(generator.integers(0, 24))
        pitches = [LOWEST_NOTE * 2 ** ((root + step) / 12) for step in chord]
        partials = [np.sin(2 * np.pi * p * k * time) / k for p in pitches for k in range(1, 6)]
        notes.append(sum(partials) * np.exp(-4 * time) * np.minimum(1, time / 0.005))
    return np.asarray(np.concatenate(notes)[:size] if notes else np.zeros(size))


def _coloured(exponent: float) -> Callable[[int, np.random.Generator], Wave]:
    """Return a generator of noise whose power is proportional to frequency ** -exponent."""

    def make(size: int, generator: np.random.Generator) -> Wave:
        spectrum = np.fft.rfft(generator.normal(size=size))
        frequency = np.maximum(np.fft.rfftfreq(size, 1 / SAMPLE_RATE), 20.0)
        return np.asarray(np.fft.irfft(spectrum / frequency ** (exponent / 2), size))

    return make


def _clicks(size: int, generator: np.random.Generator) -> Wave:
    """Short bursts over a faint hiss, like a clock or a keyboard."""
    wave = 0.005 * generator.normal(size=size)
    burst = np.exp(-_seconds(160) / 0.002)
    for start in np.arange(0, size - 160, round(generator.uniform(0.2, 1.0) * SAMPLE_RATE)):
        wave[start : start + 160] += burst * generator.normal(size=160)
    return np.asarray(wave)


KINDS: dict[str, Callable[[int, np.random.Generator], Wave]] = {
    "dither": _dither,
    "hum": _hum,
    "tone": _tone,
    "sweep": _sweep,
    "melody": _melody,
    "white noise": _coloured(0.0),
    "pink noise": _coloured(1.0),
    "brown noise": _coloured(2.0),
    "clicks": _clicks,
}


def read_non_speech(folder: Path, key: str) -> list[NonSpeech]:
    """Read the recordings in a folder and its subfolders; their kind is the name of their folder.

    Args:
        folder: folder to search.
        key: option or recipe key to name in errors.

    Raises:
        RecipeError: the folder does not exist or contains no recordings.
        AudioError: a recording cannot be read.
    """
    return [
        NonSpeech(path.parent.name, str(path), read_audio(path))
        for path in find_recordings(folder, key)
    ]
