"""Recognition with small random networks: edge lengths, silence, modes, order, bad recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fixtures.errors import refused
from fixtures.random_model import random_model
from keyframe_asr.errors import AudioError, ModelError, OptionError
from keyframe_asr.inference import batch_recognizer
from keyframe_asr.inference.batch_recognizer import batches_by_length, read_recording
from keyframe_asr.inference.options import DECODE_MODES
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.results import Transcript
from keyframe_asr.text.tokenizer import BLANK, END

RATE = 16_000


def build(keyframes: bool, decoder: bool = True) -> Recognizer:
    return Recognizer(random_model(keyframes, decoder=decoder), "cpu")


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return build(keyframes=True)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    generator = np.random.default_rng(1)
    samples = generator.normal(size=2 * RATE) * np.abs(np.sin(np.arange(2 * RATE) / 2000))
    return (0.1 * samples).astype(np.float32)


@pytest.mark.parametrize("keyframes", [True, False])
def test_every_mode_gives_tokens_with_times_and_confidences(keyframes: bool, noise) -> None:
    recognizer = build(keyframes)
    assert recognizer.modes == (DECODE_MODES if keyframes else DECODE_MODES[1:])
    for mode in recognizer.modes:
        found = recognizer.transcribe(noise, mode)
        assert found.text == "".join(token.text for token in found.tokens) != ""
        assert found.duration == 2.0
        starts = [token.start for token in found.tokens]
        assert starts == sorted(starts)
        assert all(0 <= t.start <= t.end <= found.duration for t in found.tokens)
        assert all(0 <= t.confidence <= 1 for t in found.tokens)
        assert (found.frame_reduction > 0) == keyframes


@pytest.mark.parametrize("mode", ["axe", "attention", "rescore"])
def test_text_is_bounded_by_the_keyframes(recognizer, noise, mode) -> None:
    encoded = recognizer.encode([noise, noise[:8000], noise[:3000]])
    for found, keyframes in zip(recognizer.decode(encoded, mode), encoded.keyframes, strict=True):
        assert len(found.tokens) <= keyframes


@pytest.mark.parametrize("keyframes", [True, False])
@pytest.mark.parametrize("samples", [0, 1, 79, 80, 160, 400])
def test_almost_nothing_is_no_crash(keyframes: bool, samples: int) -> None:
    recognizer = build(keyframes)
    for mode in recognizer.modes:
        for value in (0.0, 0.3):
            found = recognizer.transcribe(np.full(samples, value, dtype=np.float32), mode)
            assert found.duration == samples / RATE
            assert len(found.tokens) <= 2
            if value == 0.0 or samples < 80:
                assert found.text == "" and found.tokens == []


@pytest.mark.parametrize("keyframes", [True, False])
def test_silence_is_empty_even_for_a_network_that_hears_text_everywhere(keyframes: bool) -> None:
    recognizer = build(keyframes)
    module_of(recognizer.network).inter_ctc.bias.data[BLANK] = -20.0
    module_of(recognizer.network).head.bias.data[BLANK] = -20.0
    for mode in recognizer.modes:
        found = recognizer.transcribe(np.zeros(RATE, dtype=np.float32), mode)
        assert found == Transcript("", [], 1.0, found.frame_reduction, keyframes=found.keyframes)


def test_without_a_spike_the_one_keyframe_makes_no_text(recognizer, noise) -> None:
    deaf = build(keyframes=True)
    module_of(deaf.network).inter_ctc.bias.data[BLANK] = 100.0
    encoded = deaf.encode([noise])
    assert encoded.keyframes == (1,)
    for mode in deaf.modes:
        assert deaf.transcribe(noise, mode).text == ""


def test_decoder_is_not_asked_where_the_head_is_silent(noise) -> None:
    recognizer = build(keyframes=True)
    module_of(recognizer.network).head.bias.data[BLANK] = 100.0
    assert module_of(recognizer.network).decoder is not None
    module_of(recognizer.network).decoder.output.bias.data[END] = -100.0
    for mode in ("axe", "attention", "rescore"):
        assert recognizer.transcribe(noise, mode).text == ""
    assert recognizer.transcribe(noise, "ctc").text != ""


def test_a_mode_without_its_part_is_refused(noise) -> None:
    with refused(ModelError, "'axe'", "ctc, attention"):
        build(keyframes=False).transcribe(noise, "axe")
    with refused(ModelError, "'rescore'", "axe, ctc"):
        build(keyframes=True, decoder=False).transcribe(noise, "rescore")
    with refused(OptionError, "decode: ", "'beam'", "axe, ctc, attention"):
        build(keyframes=True).transcribe(noise, "beam")


def test_bad_recordings_do_not_stop_the_others(recognizer, noise, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", noise, RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("this is no recording")
    paths = [tmp_path / "missing.wav", tmp_path / "good.wav", tmp_path / "text.wav"]
    missing, good, text = recognizer.transcribe_each([*paths])
    for bad, path in ((missing, paths[0]), (text, paths[2])):
        assert isinstance(bad.error, AudioError) and str(path) in str(bad.error)
        assert bad.path == path and bad.transcript is None
        with pytest.raises(AudioError):
            bad.unwrap()
    assert good.error is None and good.unwrap() == recognizer.transcribe(noise)
    with refused(AudioError, "missing.wav: "):
        recognizer.transcribe_batch(paths)


@pytest.mark.parametrize(
    ("samples", "named"),
    [
        (np.zeros((2, 2), dtype=np.float32), "(2, 2)"),
        (np.zeros(100, dtype=np.int32), "int32"),
        (np.full(100, np.nan, dtype=np.float32), "NaN"),
    ],
)
def test_bad_samples_are_refused(recognizer, samples, named) -> None:
    with refused(AudioError, named):
        recognizer.transcribe(samples)


def test_what_is_taken_whole_has_a_greatest_length(recognizer, monkeypatch) -> None:
    monkeypatch.setattr(batch_recognizer, "LONGEST_SECONDS", 3.0)
    samples = np.zeros(3 * RATE + 1, dtype=np.float32)
    for refuse in (read_recording, recognizer.embed):
        with refused(AudioError, 3):
            refuse(samples)
    assert recognizer.transcribe(samples).duration == samples.size / RATE


def test_results_come_in_the_order_given(recognizer, noise) -> None:
    recordings = [noise[:size] for size in (4000, 30_000, 900, 16_000, 0, 32_000)]
    found = recognizer.transcribe_batch(recordings)
    assert [one.duration for one in found] == [samples.size / RATE for samples in recordings]


def test_batches_hold_every_key_once_within_the_budget() -> None:
    generator = np.random.default_rng(0)
    sizes = {key: int(generator.integers(0, 5 * RATE)) for key in range(50)} | {50: 40 * RATE}
    batches = batches_by_length(sizes, seconds=20)
    assert sorted(key for batch in batches for key in batch) == sorted(sizes)
    assert all(
        len(batch) == 1 or len(batch) * max(sizes[k] for k in batch) <= 20 * RATE
        for batch in batches
    )
    assert batches_by_length({}) == []
