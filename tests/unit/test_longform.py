"""Recordings of any length through a small random network, one by one and many together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from fixtures.errors import refused
from fixtures.random_model import RATE, noise, random_model
from fixtures.vowels import vowels
from keyframe_asr.audio.voice_activity import (
    DETECTION_LEVEL,
    HOP,
    LoudnessDetector,
    SileroDetector,
)
from keyframe_asr.errors import AudioError, PackageError
from keyframe_asr.inference.longform import BATCHES_AHEAD, recognise_each
from keyframe_asr.inference.options import RecognitionOptions, Segmentation
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.segmentation import speech_detector
from keyframe_asr.io.model_folder import StoredModel
from keyframe_asr.results import Transcript

QUIET = RecognitionOptions(voice_activity="loudness")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    model: StoredModel = random_model()
    return Recognizer(model, "cpu")


def check(found: Transcript, duration: float) -> None:
    assert found.duration == duration
    starts = [token.start for token in found.tokens]
    assert starts == sorted(starts)
    assert all(0 <= token.start <= token.end <= duration for token in found.tokens)
    assert [token for one in found.segments for token in one.tokens] == found.tokens
    assert all(
        before.end <= after.start
        for before, after in zip(found.segments, found.segments[1:], strict=False)
    )


@pytest.mark.parametrize("samples", [0, 1, 160, 1600, 30 * RATE, 30 * RATE + 1, 41 * RATE + 7])
def test_any_length_as_file_and_as_samples(recognizer, tmp_path: Path, samples: int) -> None:
    sound = noise(samples / RATE)
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    found = recognizer.transcribe(sound, QUIET)
    check(found, samples / RATE)
    assert recognizer.transcribe(tmp_path / "a.wav", QUIET) == found
    if samples > RATE:
        assert found.text and 0 < found.frame_reduction < 1
        assert (len(found.segments) > 1) == (samples > 30 * RATE)


def test_up_to_30_seconds_nothing_changes(recognizer) -> None:
    sound = noise(29.0)
    whole = recognizer.decode(recognizer.encode([sound]), "axe")[0]
    found = recognizer.transcribe(sound, "axe")
    assert (found.text, found.tokens, found.frame_reduction) == (
        whole.text,
        whole.tokens,
        whole.frame_reduction,
    )


@pytest.mark.parametrize("mode", ["ctc", "attention", "rescore"])
def test_every_mode(recognizer, mode: str) -> None:
    sound = noise(33.0)
    short = Segmentation(longest=6.0, search=2.0)
    check(recognizer.transcribe(sound, replace(QUIET, decode=mode, segmentation=short)), 33.0)


def test_long_silence_is_empty(recognizer) -> None:
    assert recognizer.transcribe(np.zeros(70 * RATE, dtype="f4"), QUIET).text == ""


def test_long_and_short_and_bad_ones_come_in_order(recognizer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "cut.flac", noise(40.0), RATE)
    content = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) * 3 // 4])
    given = [noise(31.0), tmp_path / "cut.flac", noise(1.0), tmp_path / "gone.wav", noise(32.0)]
    heard: dict[int, list[float]] = {}

    def progress(place: int, share: float) -> None:
        heard.setdefault(place, []).append(share)

    found = list(recognizer.transcribe_each(given, replace(QUIET, batch_seconds=4.0), progress))
    assert [one.index for one in found] == [0, 1, 2, 3, 4]
    assert [one.path for one in found] == [None, given[1], None, given[3], None]
    assert [one.transcript is None for one in found] == [False, True, False, True, False]
    assert [type(one.error) for one in found if one.error] == [AudioError, AudioError]
    assert "cut.flac" in str(found[1].error) and "gone.wav" in str(found[3].error)
    assert [one.transcript.duration for one in found if one.transcript] == [31.0, 1.0, 32.0]
    assert all(shares == sorted(shares) and max(shares) <= 1.0 for shares in heard.values())
    assert len(heard[0]) > 1 and heard[4][-1] == 1.0
    for place in (0, 2, 4):
        assert found[place].transcript.text == recognizer.transcribe(given[place], QUIET).text


def test_not_more_is_held_than_a_few_batches() -> None:
    held = []

    class Listener:
        config = random_model().config

        def recognise(self, batch, options):
            held.append(sum(one.size for one in batch) / RATE)
            return [Transcript("", [], one.size / RATE) for one in batch]

    sounds = (noise(seconds) for seconds in [150.0, *[0.5] * 200])
    found = list(recognise_each(Listener(), sounds, replace(QUIET, batch_seconds=10.0)))
    assert [one.unwrap().duration for one in found] == [150.0, *[0.5] * 200]
    assert max(held) <= 22.1
    assert BATCHES_AHEAD * RecognitionOptions().batch_seconds <= 120


def test_silero_that_is_not_installed(recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "silero_vad", None)
    assert isinstance(speech_detector("auto"), LoudnessDetector)
    with refused(PackageError, "pip install 'keyframe-asr[vad]'"):
        recognizer.transcribe(noise(1.0), RecognitionOptions(voice_activity="silero"))


def test_silero_scores_as_its_own_package_does() -> None:
    silero_vad = pytest.importorskip("silero_vad")
    network, ours = silero_vad.load_silero_vad(), SileroDetector()
    samples = vowels(6.0)
    windows = samples[: samples.size // HOP * HOP].reshape(-1, HOP)
    levelled = SileroDetector()
    gain = 10 ** ((DETECTION_LEVEL - levelled._level.push(windows.ravel())) / 20)
    heard = torch.from_numpy(np.clip(windows * gain[:, None], -1, 1).astype(np.float32))
    with torch.inference_mode():
        expected = np.array([network(one, RATE).item() for one in heard])
    blocks = np.split(windows.ravel(), [3 * HOP, 50 * HOP])
    found = np.concatenate([ours.push(one) for one in blocks])
    assert expected.max() > 0.5 > expected.min()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_silero_hears_no_speech_in_noise(recognizer) -> None:
    pytest.importorskip("silero_vad")
    detector = SileroDetector()
    scores = detector.push(noise(0.1 * HOP)[: 40 * HOP])
    assert scores.shape == (40,) and scores.max() < 0.5
    found = recognizer.transcribe(0.05 * noise(35.0), RecognitionOptions(voice_activity="silero"))
    assert found == Transcript("", [], 35.0)


def test_bad_samples_of_any_length_are_refused(recognizer) -> None:
    sound = noise(31.0)
    sound[-5] = np.inf
    with refused(AudioError, "NaN"):
        recognizer.transcribe(sound)
