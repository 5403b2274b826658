"""What is no speech gets no text: regions, their statistics, the fit, and the shipped models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.errors import refused
from fixtures.random_model import RATE, noise, random_model
from fixtures.random_pretrained import random_pretrained
from keyframe_asr.audio.synthetic_noise import (
    KINDS,
    LEVELS_DB,
    make_synthetic_noise,
    read_non_speech,
)
from keyframe_asr.config.calibration import SpeechCheckConfig
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.manifest import audio_path, load_manifest
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.errors import RecipeError
from keyframe_asr.evaluation.hallucinations import count_hallucinations
from keyframe_asr.evaluation.speech_check_fit import (
    RecognisedRecording,
    errors_with,
    fit_speech_check,
)
from keyframe_asr.inference.network import EncodedBatch
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer, load
from keyframe_asr.inference.speech_check import (
    SpeechRegion,
    keep_speech,
    non_speech_frames,
    speech_regions,
    speech_score,
)
from keyframe_asr.inference.torch_network import TorchNetwork, encoded_batch, module_of
from keyframe_asr.model.encoded import Encoded
from keyframe_asr.model.keyframes import Keyframes
from keyframe_asr.text.forms import normalise_text
from keyframe_asr.text.tokenizer import BLANK

NOTHING = SpeechCheckConfig(bias=-1e6, doubt=0.0, agreement=0.0, hesitation=0.0)
EVERYTHING = SpeechCheckConfig(bias=1e6, doubt=0.0, agreement=0.0, hesitation=0.0)


def encoded_with(spikes: list[int], frames: int, sure: float) -> EncodedBatch:
    """One recording of labels blank, A, B: A at each spike, all heads as sure of what they say."""
    inter = torch.full((1, frames, 3), (1 - sure) / 2)
    inter[0, :, 0] = sure
    inter[0, spikes] = torch.tensor([(1 - sure) / 2, sure, (1 - sure) / 2])
    index = torch.tensor([spikes])
    head = inter[:, spikes].log()
    keyframes = Keyframes(index, torch.tensor([len(spikes)]))
    return encoded_batch(Encoded(inter.log(), torch.tensor([frames]), keyframes, head, head))


def test_regions_cover_the_recording_and_part_at_pauses() -> None:
    network = random_model().network
    encoded = encoded_with([10, 20, 60, 61], 100, 0.9)
    (found,) = speech_regions(TorchNetwork(network, "cpu"), encoded)
    assert [(one.first, one.stop, one.keyframes) for one in found] == [(0, 41, 2), (41, 100, 2)]
    network.subsampling.factor = 2
    (whole,) = speech_regions(TorchNetwork(network, "cpu"), encoded)
    assert [(one.first, one.stop) for one in whole] == [(0, 100)]


def test_statistics_by_hand() -> None:
    network = TorchNetwork(random_model().network, "cpu")
    ((found,),) = speech_regions(network, encoded_with([50, 60], 200, 0.8))
    entropy = -(0.8 * np.log(0.8) + 0.2 * np.log(0.1))
    doubt, agreement, hesitation = found.statistics
    assert doubt == pytest.approx(np.log(entropy * 61 / 2 + 0.01), abs=1e-4)  # 25 frames around
    assert agreement == pytest.approx(0.8**2 + 2 * 0.1**2)
    assert hesitation == pytest.approx(np.log(entropy + 0.01), abs=1e-4)


def test_only_tokens_of_refused_regions_go() -> None:
    found = Hypothesis((3, 4, 5), -2.0, (0, 1, 2), (0.9, 0.8, 0.7))
    assert keep_speech(found, [5, 45, 80], [(41, 80)]) == Hypothesis(
        (3, 5), -2.0, (0, 2), (0.9, 0.7)
    )
    assert keep_speech(found, [5, 45, 80], []) is found
    regions = [SpeechRegion(0, 41, 2, (0.0, 0.9, 0.0)), SpeechRegion(41, 100, 1, (0.0, 0.1, 0.0))]
    check = SpeechCheckConfig(bias=-0.5, doubt=0.0, agreement=1.0, hesitation=0.0)
    assert non_speech_frames(regions, check) == ((41, 100),)


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize("keyframes", [True, False])
def test_a_check_that_refuses_everything_leaves_no_text_in_any_mode(
    keyframes: bool, pretrained: bool
) -> None:
    recognizer = Recognizer(random_model(keyframes), "cpu")
    if pretrained:
        recognizer = random_pretrained(keyframes)
    for mode in recognizer.modes:
        recognizer.speech_check = EVERYTHING
        assert recognizer.transcribe(noise(2.0), mode).text
        recognizer.speech_check = NOTHING
        found = recognizer.transcribe(noise(2.0), mode)
        assert (found.text, found.tokens, found.duration) == ("", [], 2.0)
    if keyframes:
        assert len(recognizer.embed(noise(2.0)).times) == 0


@pytest.mark.parametrize("mode", ["attention", "rescore"])
def test_the_text_of_refused_regions_goes_from_what_a_pretrained_decoder_writes(
    mode: DecodeMode,
) -> None:
    recognizer = random_pretrained()
    recognizer.speech_check = EVERYTHING
    options = RecognitionOptions(mode, decoder_weight=1.0)
    whole = recognizer.transcribe(noise(2.0), options)
    encoded = recognizer.encode([noise(2.0)])
    limit = whole.tokens[-1].start
    first = round(limit / recognizer.network.frame_seconds)
    audio = replace(encoded, non_speech=(((first, encoded.frames[0]),),))
    (found,) = recognizer.decode(audio, options)
    kept = [token for token in whole.tokens if token.start < limit]
    assert 0 < len(kept) < len(whole.tokens)
    assert [token.text for token in found.tokens] == [token.text for token in kept]
    assert found.normal_text == normalise_text(found.text, recognizer.config.text_form)


@pytest.mark.parametrize("mode", ["attention", "rescore"])
def test_a_pretrained_decoder_is_not_run_where_ctc_hears_nothing(mode: DecodeMode) -> None:
    recognizer = random_pretrained()
    steps: list[int] = []
    decoder = module_of(recognizer.network).pretrained_decoder
    assert decoder is not None
    decoder.layers[0].register_forward_hook(lambda *_: steps.append(1))
    assert recognizer.transcribe(noise(2.0), mode).text and steps
    for quiet in (np.zeros(2 * RATE, dtype=np.float32), np.zeros(0, dtype=np.float32)):
        steps.clear()
        assert recognizer.transcribe(quiet, mode).text == "" and not steps
    with torch.no_grad():
        module_of(recognizer.network).inter_ctc.bias[BLANK] = 1e4
    assert recognizer.transcribe(noise(2.0), mode).text == "" and not steps
    together = recognizer.recognise([noise(1.0), noise(2.0)], mode)
    assert [one.text for one in together] == ["", ""] and not steps


@pytest.mark.parametrize("mode", ["attention", "rescore"])
def test_mere_punctuation_is_no_text(mode: DecodeMode) -> None:
    recognizer = random_pretrained()
    search = recognizer.pretrained
    assert search is not None
    (mark,) = set(search.tokenizer.encode("x!")) - set(search.tokenizer.encode("x"))
    never = set(range(search.tokenizer.vocab_size)) - {mark, search.tokenizer.end}
    search.symbols = replace(search.symbols, never=tuple(never))
    found = recognizer.transcribe(noise(2.0), RecognitionOptions(mode, beam=1, decoder_weight=1.0))
    assert found.text.strip("!") == found.text
    if mode == "attention":
        assert (found.text, found.words) == ("", [])


def test_a_recording_is_judged_alike_alone_and_in_a_batch() -> None:
    recognizer = Recognizer(random_model(), "cpu")
    sounds = [noise(3.0), noise(1.0, seed=2), np.zeros(0, dtype=np.float32)]
    alone = [_regions(recognizer, [sound])[0] for sound in sounds]
    for one, other in zip(alone, _regions(recognizer, sounds), strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert (a.first, a.stop, a.keyframes) == (b.first, b.stop, b.keyframes)
            assert a.statistics == pytest.approx(b.statistics, abs=1e-4)


def _regions(recognizer: Recognizer, sounds: list[np.ndarray]) -> list[list[SpeechRegion]]:
    return speech_regions(recognizer.network, recognizer.encode(sounds).encoded)


def heard(agreement: float, right: bool, speech: bool, half: int = 0) -> RecognisedRecording:
    region = SpeechRegion(0, 10, 2, (-agreement, agreement, -agreement))
    target = (3, 4) if speech else ()
    return RecognisedRecording(half, 2.0, [region], (3, 4) if right else (5, 6), (1, 5), target)


def test_the_fit_keeps_speech_and_refuses_the_rest() -> None:
    generator = np.random.default_rng(0)
    speech = [heard(0.8 + 0.1 * generator.random(), True, True) for _ in range(50)]
    sounds = [heard(0.3 + 0.1 * generator.random(), False, False) for _ in range(50)]
    check = fit_speech_check(speech, sounds, 0.0)
    assert check is not None
    assert errors_with(speech, check) == 0
    assert errors_with(sounds, None) == 100
    assert errors_with(sounds, check) == 0


def test_tolerance_is_kept_where_speech_and_noise_overlap() -> None:
    generator = np.random.default_rng(1)
    speech = [heard(0.5 + 0.2 * generator.normal(), True, True) for _ in range(200)]
    sounds = [heard(0.3 + 0.2 * generator.normal(), False, False) for _ in range(200)]
    lost = []
    for tolerance in (0.0, 0.05, 0.3):
        check = fit_speech_check(speech, sounds, tolerance)
        assert errors_with(speech, check) <= tolerance * 400
        lost.append(errors_with(sounds, check))
    assert lost[0] > lost[1] > lost[2] > 0


def test_wrong_text_of_speech_costs_nothing_to_lose_and_silence_needs_no_check() -> None:
    wrong = [heard(0.35, False, True), *[heard(0.8, True, True)] * 5]
    check = fit_speech_check(wrong, [heard(0.3, False, False)], 0.0)
    assert check is not None and speech_score(wrong[0].regions[0], check) < 0
    empty = RecognisedRecording(0, 2.0, [], (), (), ())
    assert fit_speech_check(wrong, [empty], 0.0) is None


def test_self_made_sounds_are_the_same_each_time_and_of_every_kind() -> None:
    first, again, other = (list(make_synthetic_noise(0.5, seed)) for seed in (0, 0, 1))
    assert len(first) == 1 + len(KINDS) * len(LEVELS_DB)
    assert len({sound.name for sound in first}) == len(first)
    for one, same, different in zip(first, again, other, strict=True):
        assert one.samples.dtype == np.float32 and len(one.samples) == RATE // 2
        assert np.isfinite(one.samples).all() and np.abs(one.samples).max() <= 0.32
        np.testing.assert_array_equal(one.samples, same.samples)
        assert one.kind == "silence" or not np.array_equal(one.samples, different.samples)
    peaks = [np.abs(sound.samples).max() for sound in first if sound.kind == "melody"]
    assert peaks == pytest.approx([10 ** (level / 20) for level in LEVELS_DB], rel=1e-3)


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with refused(RecipeError, "--non-speech", tmp_path):
        read_non_speech(tmp_path, "--non-speech")


def test_hallucinations_are_counted_with_and_without_the_check() -> None:
    recognizer = Recognizer(random_model(), "cpu")
    recognizer.speech_check = NOTHING
    sounds = list(make_synthetic_noise(1.0))
    report = count_hallucinations(recognizer, sounds, ["axe"])
    found, without = report["decode"]["axe"], report["decode"]["axe"]["without_check"]
    assert (found["hallucinated"], found["per_hour"], found["with_text"]) == (0, 0.0, 0)
    assert without["with_text"] > 0 and without["kinds"]["silence"]["with_text"] == 0
    assert without["per_hour"] == pytest.approx(3600 * without["hallucinated"] / len(sounds))
    assert without["hallucinated"] == sum(one["hallucinated"] for one in without["kinds"].values())
    assert recognizer.speech_check is NOTHING


@pytest.mark.parametrize(("name", "share"), [("an4-small", 0.5), ("demo", 0.8)])
def test_shipped_models_hallucinate_less_than_without_their_check(name: str, share: float) -> None:
    """Sounds of other numbers than those that it was fitted to; demo's is the more careful one."""
    recognizer = load(name)
    report = count_hallucinations(recognizer, list(make_synthetic_noise(5.0, seed=3)), ["axe"])
    found = report["decode"]["axe"]
    assert found["without_check"]["with_text"] > 5
    assert found["hallucinated"] < share * found["without_check"]["hallucinated"]


def test_the_check_of_the_shipped_demo_leaves_speech_alone(tmp_path: Path) -> None:
    """Of voices that neither training nor calibration heard."""
    recognizer = load("demo")
    recipe = SyntheticCorpus("mandarin", train=0, dev=0, test=10, seed=5)
    for cut in load_manifest(make_corpus(tmp_path, recipe)["test"]):
        recording = audio_path(cut)
        checked, recognizer.speech_check = recognizer.transcribe(recording), None
        assert checked.text == recognizer.transcribe(recording).text != ""
        recognizer.speech_check = recognizer.config.speech_check
