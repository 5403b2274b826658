"""Samples in memory: any rate, channels on either axis, and the same text as their file gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fixtures.errors import refused
from fixtures.random_model import RATE, noise, random_model
from keyframe_asr.audio.arrays import checked_samples
from keyframe_asr.audio.reading import read_audio
from keyframe_asr.errors import AudioError
from keyframe_asr.formats import render
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer

SOUND = noise(1.5, seed=1)
OTHER = noise(1.5, seed=2)
STEREO = np.stack([SOUND, OTHER])


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(random_model(), "cpu")


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_an_array_gives_the_samples_of_its_file(tmp_path: Path, rate: int) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, STEREO.T, rate, subtype="FLOAT")
    for samples in (STEREO, STEREO.T, torch.from_numpy(STEREO)):
        np.testing.assert_array_equal(checked_samples(samples, rate), read_audio(file))
        np.testing.assert_array_equal(
            checked_samples(samples, rate, 1), read_audio(file, channel=1)
        )


@pytest.mark.parametrize("shape", [(RATE,), (1, RATE), (RATE, 1)])
def test_mono_has_one_axis_or_two(shape: tuple[int, ...]) -> None:
    samples = noise(1.0).reshape(shape)
    for channel in (None, 0):
        np.testing.assert_array_equal(
            checked_samples(samples, channel=channel), samples.reshape(-1)
        )


@pytest.mark.parametrize("shape", [(0, 100), (16, 16), (17, 100), (3, 4), (2, 50, 2)])
def test_shapes_without_an_axis_of_channels_are_refused(shape: tuple[int, ...]) -> None:
    with refused(AudioError, str(shape)):
        checked_samples(np.zeros(shape, np.float32))


@pytest.mark.parametrize("rate", [0, -1, 16, 1_000_000, 16_000.0, "16000", True])
def test_rates_that_are_none(rate: object) -> None:
    with refused(AudioError, repr(rate).strip("'")):
        checked_samples(SOUND, rate)  # type: ignore[arg-type]


def test_a_channel_that_is_not_there() -> None:
    for samples, channels in ((SOUND, 1), (STEREO, 2)):
        with refused(AudioError, f" {channels} "):
            checked_samples(samples, channel=2)


def test_every_method_takes_a_rate(recognizer: Recognizer) -> None:
    rate = RATE // 2
    resampled = checked_samples(SOUND, rate)
    expected = recognizer.transcribe(resampled, "ctc")
    assert expected.text and expected.duration == pytest.approx(3.0)
    assert recognizer.transcribe(SOUND, "ctc", sample_rate=rate) == expected
    assert recognizer.transcribe_batch([SOUND], "ctc", sample_rate=rate) == [expected]
    (result,) = recognizer.transcribe_each([SOUND], "ctc", sample_rate=rate)
    assert result.transcript == expected
    assert recognizer.align(SOUND, expected.text, sample_rate=rate) == expected
    found, wanted = recognizer.embed(SOUND, sample_rate=rate), recognizer.embed(resampled)
    np.testing.assert_array_equal(found.vectors, wanted.vectors)


def test_the_channel_of_the_options_holds_for_arrays(recognizer: Recognizer) -> None:
    options = RecognitionOptions(decode="ctc", channel=1)
    assert recognizer.transcribe(STEREO, options) == recognizer.transcribe(OTHER, "ctc")
    assert recognizer.transcribe(STEREO, options) != recognizer.transcribe(SOUND, "ctc")


def test_a_file_has_its_own_rate(recognizer: Recognizer, tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, SOUND, RATE)
    bad, good = recognizer.transcribe_each([file, SOUND], "ctc", sample_rate=RATE)
    assert isinstance(bad.error, AudioError) and str(file) in str(bad.error)
    assert good.transcript is not None
    for call in (
        lambda: recognizer.align(file, "A", sample_rate=RATE),
        lambda: recognizer.embed(file, sample_rate=RATE),
    ):
        with refused(AudioError, str(file)):
            call()


def test_a_transcript_renders_itself(recognizer: Recognizer) -> None:
    transcript = recognizer.transcribe(SOUND, "ctc")
    written = json.loads(render(transcript, "json", "a.wav"))
    assert written.pop("audio") == "a.wav"
    assert json.loads(json.dumps(transcript.to_dict())) == written
    assert transcript.to_srt() == render(transcript, "srt", "a.wav") != ""
    assert transcript.to_vtt() == render(transcript, "vtt", "a.wav") != ""
