"""Once, a quiet recording had another text than a loud one, or none: the features of a model with
its own front end followed the gain of the microphone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.random_model import RATE, noise, random_model
from keyframe_asr.audio.features import Fbank, FrontEnd, NormalisedWaveform, WhisperMel
from keyframe_asr.audio.level import LOWEST_LEVEL, RunningLevel, at_level, speech_level
from keyframe_asr.audio.loudness import SpeechLevel
from keyframe_asr.audio.reading import Samples
from keyframe_asr.audio.voice_activity import HOP, LoudnessDetector, SileroDetector
from keyframe_asr.config.model import FeaturesConfig, load_model_folder_config
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer, load
from keyframe_asr.io.model_folder import find_model

RECOGNISER = Recognizer(random_model(), "cpu")
SPEECH_LIKE = noise(3.0)
LONG = np.concatenate(
    [np.concatenate([noise(4.0, seed), np.zeros(RATE // 2, "f4")]) for seed in range(9)]
)

gains = st.floats(-45, 0)


def amplified(samples: Samples, decibels: float) -> Samples:
    return (samples * 10 ** (decibels / 20)).astype(np.float32)


@given(gains)
@settings(max_examples=20)
def test_the_text_of_a_recording_is_that_at_any_gain(decibels: float) -> None:
    assert RECOGNISER.transcribe(SPEECH_LIKE, "ctc").text
    found = RECOGNISER.transcribe(amplified(SPEECH_LIKE, decibels), "ctc")
    assert found.text == RECOGNISER.transcribe(SPEECH_LIKE, "ctc").text


@pytest.mark.parametrize("detector", ["loudness", "silero"])
@pytest.mark.parametrize("decibels", [-30.0, -12.0])
def test_the_text_of_a_long_recording_is_that_at_any_gain(detector, decibels: float) -> None:
    options = RecognitionOptions("ctc", voice_activity=detector)
    found = RECOGNISER.transcribe(amplified(LONG, decibels), options)
    expected = RECOGNISER.transcribe(LONG, options)
    assert found.text == expected.text
    assert [one.start for one in found.tokens] == [one.start for one in expected.tokens]


def test_a_quiet_speaker_beside_a_loud_one_in_a_batch() -> None:
    quiet = amplified(noise(2.0, 3), -30.0)
    alone = RECOGNISER.encode([quiet])
    both = RECOGNISER.encode([SPEECH_LIKE, quiet])
    size = alone.frames[0]
    np.testing.assert_allclose(
        both.encoded.inter_log_probs[1, :size],
        alone.encoded.inter_log_probs[0, :size],
        atol=1e-4,
        rtol=0,
    )


@pytest.mark.parametrize("decibels", [-40.0, -30.0, -20.0, 6.0])
def test_the_shipped_model_hears_a_quiet_voice(decibels: float) -> None:
    samples, _ = SpeechSynthesiser().say("two five nine", "en-us+m3")
    half = 0.5 * samples / np.abs(samples).max()
    recogniser = load("an4-small", "cpu")
    expected = recogniser.transcribe(half.astype("f4"), "ctc").text
    assert expected
    assert recogniser.transcribe(amplified(half, decibels), "ctc").text == expected


@pytest.mark.parametrize(
    "compute",
    [Fbank(FeaturesConfig()), WhisperMel(80, -20.0), NormalisedWaveform(-20.0)],
    ids=lambda one: type(one).__name__,
)
@given(decibels=gains)
@settings(max_examples=10)
def test_features_do_not_follow_the_gain(compute: FrontEnd, decibels: float) -> None:
    found = compute(amplified(SPEECH_LIKE, decibels))
    np.testing.assert_allclose(found, compute(SPEECH_LIKE), atol=1e-3)


@pytest.mark.parametrize("model", ["demo", "an4-small", "english-mandarin"])
def test_every_shipped_model_has_a_level(model: str) -> None:
    config = load_model_folder_config(find_model(model) / "config.yaml")
    assert config.features.level is not None


def test_recordings_are_taken_as_they_are_on_request() -> None:
    fbank = Fbank(FeaturesConfig(level=None))
    fall = fbank(SPEECH_LIKE) - fbank(amplified(SPEECH_LIKE, -20.0))
    np.testing.assert_allclose(np.median(fall), np.log(100), atol=1e-2)


def voice(samples: Samples) -> Samples:
    """Half a second of sound between pauses."""
    return np.pad(samples[:8000], (4000, 12000)).astype(np.float32)


def with_click(samples: Samples) -> Samples:
    clicked = samples.copy()
    clicked[600:900] = 1.0
    return clicked


@pytest.mark.parametrize(
    "changed",
    [
        with_click,
        lambda samples: np.pad(samples, 5 * RATE),
        lambda samples: samples + np.float32(0.1),
        lambda samples: samples + amplified(noise(1.5, 5), -20.0)[: samples.size],
    ],
    ids=["click", "pauses", "offset", "noise"],
)
def test_the_level_is_that_of_the_speech(changed: Callable[[Samples], Samples]) -> None:
    samples = voice(0.5 * noise(1.0))
    assert speech_level(changed(samples)) == pytest.approx(speech_level(samples), abs=1.0)


def test_silence_is_not_amplified_beyond_a_bound() -> None:
    for silence in (np.zeros(RATE, "f4"), np.zeros(0, "f4")):
        np.testing.assert_array_equal(at_level(silence, -20.0), silence)
    dither = np.random.default_rng(0).integers(-1, 2, RATE).astype("f4") / 2**15
    gain = 10 ** ((-20.0 - LOWEST_LEVEL) / 20)
    assert np.abs(at_level(dither, -20.0)).max() == pytest.approx(gain / 2**15, rel=1e-4)


@pytest.mark.parametrize("size", [1, 80, 399, 400, 1000])
def test_the_level_of_very_short_sounds(size: int) -> None:
    samples = noise(0.1, 2)[:size] + np.float32(0.01)
    assert np.isfinite(speech_level(samples))
    assert at_level(samples, -20.0).shape == samples.shape


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.floats(-30, 0))
def test_the_level_of_a_stream_does_not_depend_on_its_blocks(hops, decibels: float) -> None:
    samples = amplified(noise(sum(hops) * HOP / RATE), decibels)[: sum(hops) * HOP]
    whole = RunningLevel(HOP, 0.5).push(samples)
    running, parts, place = RunningLevel(HOP, 0.5), [], 0
    for one in hops:
        parts.append(running.push(samples[place : place + one * HOP]))
        place += one * HOP
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert whole.size == sum(hops)


@pytest.mark.parametrize("detector", [LoudnessDetector, SileroDetector])
@pytest.mark.parametrize("decibels", [-40.0, -20.0])
def test_the_scores_of_voice_activity_do_not_follow_the_gain(detector, decibels: float) -> None:
    samples = 0.5 * LONG[: 8 * RATE // HOP * HOP]
    expected = detector().push(samples)
    np.testing.assert_allclose(detector().push(amplified(samples, decibels)), expected, atol=2e-3)


@pytest.mark.parametrize("decibels", [-40.0, -20.0])
def test_where_sounds_end_does_not_follow_the_gain(decibels: float) -> None:
    expected, found = (SpeechLevel.of_samples(amplified(LONG, gain)) for gain in (0.0, decibels))
    assert expected is not None and found is not None
    np.testing.assert_array_equal(found.loud, expected.loud)
