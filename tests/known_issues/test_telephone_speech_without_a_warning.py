"""Once, recordings of a telephone gave rubbish without a word: the models were trained on twice the
band of frequencies."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from fixtures.command_line import keyframe
from fixtures.random_model import RATE, noise, random_model, save_random_model
from keyframe_asr.audio.band import highest_frequency
from keyframe_asr.errors import NarrowBandWarning
from keyframe_asr.inference.recognizer import Recognizer

WIDE = noise(2.0)
NARROW = soxr.resample(WIDE, RATE, RATE // 2)


def written(path: Path, samples: np.ndarray, rate: int) -> Path:
    soundfile.write(path, samples, rate)
    return path


def test_it_is_warned_of_once(tmp_path: Path) -> None:
    recogniser = Recognizer(random_model(), "cpu")
    first = written(tmp_path / "first.wav", NARROW, RATE // 2)
    second = written(tmp_path / "second.wav", soxr.resample(NARROW, RATE // 2, RATE), RATE)
    with pytest.warns(NarrowBandWarning) as found:
        results = list(recogniser.transcribe_each([first, second]))
    assert [str(first) in str(one.message) for one in found] == [True]
    assert all(one.transcript is not None for one in results)


@pytest.mark.parametrize("band", [8000.0, 4000.0])
def test_it_is_not_warned_of_the_band_of_the_training(band: float) -> None:
    model = random_model()
    features = model.config.features.model_copy(update={"band": band})
    config = model.config.model_copy(update={"features": features})
    samples = WIDE if band == 8000 else soxr.resample(NARROW, RATE // 2, RATE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Recognizer(replace(model, config=config), "cpu").transcribe(samples)
        Recognizer(replace(model, config=config), "cpu").transcribe(np.zeros(RATE, "f4"))


def test_the_command_line_goes_on(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    paths = [written(tmp_path / f"{name}.wav", NARROW, RATE // 2) for name in "ab"]
    ran = keyframe("transcribe", model, *paths)
    assert ran.exit_code == 0
    assert len(ran.stdout.splitlines()) == 2
    (line,) = [one for one in ran.stderr.splitlines() if "warning" in one]
    assert str(paths[0]) in line


@pytest.mark.parametrize(("rate", "highest"), [(8000, 4000), (11_025, 5512), (48_000, 8000)])
def test_the_highest_frequency(rate: int, highest: float) -> None:
    lowered = soxr.resample(soxr.resample(WIDE, RATE, rate), rate, RATE)
    samples = lowered if rate < RATE else WIDE
    for gain in (1.0, 0.01):
        found = highest_frequency((gain * samples + 0.01).astype(np.float32))
        assert found == pytest.approx(highest, abs=150)


@pytest.mark.parametrize("size", [0, 1, 100, 511, 512, 3000])
def test_silence_and_very_short_recordings(size: int) -> None:
    assert highest_frequency(np.zeros(size, "f4")) == 0
    assert 0 <= highest_frequency(WIDE[:size]) <= 8100
