"""Recorded impulse responses, against a convolution written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from fixtures.errors import refused
from fixtures.tone_corpus import tones
from keyframe_asr.audio.reading import Samples
from keyframe_asr.audio.rooms import read_response, reverberate
from keyframe_asr.config.augment import AugmentConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.augment import WaveformAugmentation, check_folders
from keyframe_asr.errors import AudioError, RecipeError
from keyframe_asr.timing import SAMPLE_RATE

SPEECH = tones("ABCD")
PATHS = {0.004: 0.5, 0.010: -0.3, 0.052: 0.2, 0.180: 0.05}
"""Seconds at which sound arrives, and how strong."""


def convolved(samples: Samples, response: Samples) -> np.ndarray:
    """Each path's copy of the samples, added where it arrives; of the power of the samples."""
    heard = np.zeros(samples.size)
    for lag, strength in enumerate(response.astype(np.float64)):
        heard[lag:] += strength * samples[: samples.size - lag].astype(np.float64)
    power = np.mean(samples.astype(np.float64) ** 2)
    return heard * np.sqrt(power / np.mean(heard**2))


def record(path: Path, rate: int = SAMPLE_RATE, channels: int = 1, scale: float = 1.0) -> Path:
    """A room that `PATHS` describe, before them the hiss of a recorder; other channels differ."""
    hiss = 1e-4 * np.random.default_rng(rate).normal(size=(round(0.3 * rate), channels))
    for seconds, strength in PATHS.items():
        hiss[round(seconds * rate)] += strength * np.cos(np.arange(channels))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, scale * hiss, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def augmentation(folder: Path, rooms: int = 0) -> WaveformAugmentation:
    section = {"probability": 1.0, "folder": str(folder), "rooms": rooms}
    return WaveformAugmentation(parse_config(AugmentConfig, {"reverberation": section}, "x"), 1)


@pytest.mark.parametrize(
    ("name", "rate", "channels", "scale"),
    [
        ("a.wav", SAMPLE_RATE, 1, 1.0),
        ("a.flac", SAMPLE_RATE, 2, 1.0),
        ("a.wav", 48_000, 4, 1.0),
        ("a.ogg", 44_100, 1, 1.0),
        ("a.wav", SAMPLE_RATE, 1, 30.0),
    ],
)
def test_responses_begin_with_the_direct_path_and_have_energy_1(
    tmp_path: Path, name: str, rate: int, channels: int, scale: float
) -> None:
    response = read_response(record(tmp_path / name, rate, channels, scale))
    assert response.dtype == np.float32 and response.ndim == 1
    assert np.abs(response).argmax() == 0
    assert np.square(response, dtype=np.float64).sum() == pytest.approx(1, rel=1e-5)
    direct = min(PATHS)
    for seconds, strength in PATHS.items():
        place = round((seconds - direct) * SAMPLE_RATE)
        near = response[max(0, place - 1) : place + 2]
        found = near[np.abs(near).argmax()] / response[0]
        assert found == pytest.approx(strength / PATHS[direct], abs=0.06)


def test_reverberation_is_a_convolution_with_the_recorded_room(tmp_path: Path) -> None:
    response = read_response(record(tmp_path / "a.wav"))
    expected = convolved(SPEECH, response)
    np.testing.assert_allclose(reverberate(SPEECH, response), expected, atol=1e-5)
    heard = augmentation(tmp_path)(SPEECH, np.random.default_rng(1))
    np.testing.assert_allclose(heard, expected, atol=1e-5)
    assert not np.allclose(heard, SPEECH, atol=1e-2)


@pytest.mark.parametrize(("rooms", "different"), [(0, 2), (3, 5)])
def test_simulated_and_recorded_rooms_are_drawn_alike(
    tmp_path: Path, rooms: int, different: int
) -> None:
    record(tmp_path / "a.wav")
    record(tmp_path / "deep" / "b.flac", 44_100)
    heard = augmentation(tmp_path, rooms)
    found = {heard(SPEECH, np.random.default_rng(seed)).tobytes() for seed in range(60)}
    assert len(found) == different


def test_simulated_rooms_stay_what_they_are_beside_a_folder(tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    only = WaveformAugmentation(
        parse_config(AugmentConfig, {"reverberation": {"probability": 1.0, "rooms": 2}}, "x"), 1
    )
    both, alone = (
        {one(SPEECH, np.random.default_rng(seed)).tobytes() for seed in range(40)}
        for one in (augmentation(tmp_path, 2), only)
    )
    assert alone < both


def test_what_is_no_impulse_response(tmp_path: Path) -> None:
    key = "augment.reverberation.folder: "
    with refused(RecipeError, key, tmp_path / "gone"):
        augmentation(tmp_path / "gone")
    with refused(RecipeError, key, tmp_path):
        augmentation(tmp_path)
    section: dict[str, Any] = {"reverberation": {"folder": str(tmp_path)}}
    with refused(RecipeError, key, tmp_path):
        check_folders(parse_config(AugmentConfig, section, "x"))
    for name, size in (("silent.wav", 100), ("empty.wav", 0)):
        soundfile.write(tmp_path / name, np.zeros(size), SAMPLE_RATE)
        with refused(AudioError, f"{tmp_path / name}: "):
            read_response(tmp_path / name)
        with refused(RecipeError, key, tmp_path / name):
            augmentation(tmp_path)
        (tmp_path / name).unlink()
    (tmp_path / "prose.wav").write_text("this is no audio")
    with refused(RecipeError, key, tmp_path / "prose.wav"):
        augmentation(tmp_path)
