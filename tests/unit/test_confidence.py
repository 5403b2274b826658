"""Confidences: which tokens are right, how scaling reaches recognition, what is stored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fixtures.errors import refused
from fixtures.random_model import noise, random_model, save_random_model
from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.calibration import ConfidenceConfig
from keyframe_asr.config.model import FeaturesConfig
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.decoding.confidence import fit_scaling, right_units, scaled, with_scaling
from keyframe_asr.decoding.hypothesis import EMPTY, Hypothesis
from keyframe_asr.errors import ModelError, RecipeError
from keyframe_asr.evaluation.reliability import ScoredConfidences, draw_reliability, reliability
from keyframe_asr.inference.recognizer import load
from keyframe_asr.io.model_folder import copy_model_folder, load_model_folder, shipped_models
from keyframe_asr.training.stage_model import measure_confidences


def test_right_tokens_are_those_the_alignment_pairs_with_their_equals() -> None:
    assert right_units([5, 6, 7], [5, 9, 7]) == [True, False, True]
    assert right_units([5, 6], [5, 6, 6]) in ([True, False, True], [True, True, False])
    assert right_units([5, 6, 7], [7]) == [True]
    assert right_units([], [5]) == [False]
    assert right_units(["A", "B"], []) == []


def test_temperature_and_offset_by_hand() -> None:
    assert scaled([0.8], ConfidenceConfig(temperature=2.0)) == pytest.approx([2 / 3])
    assert scaled([0.5], ConfidenceConfig(offset=float(np.log(3)))) == pytest.approx([0.75])
    assert scaled([0.0, 1.0], ConfidenceConfig()) == pytest.approx([0, 1], abs=1e-5)


def test_scaling_changes_nothing_but_confidences() -> None:
    found = Hypothesis((3, 4), -1.0, (0, 2), (0.9, 0.4))
    changed = with_scaling(found, ConfidenceConfig(temperature=3.0))
    assert replace(changed, confidences=found.confidences) == found
    assert changed.confidences != found.confidences
    assert with_scaling(found, None) is found
    assert with_scaling(EMPTY, ConfidenceConfig(temperature=3.0)) == EMPTY


def test_too_few_tokens_and_tokens_that_are_all_right() -> None:
    assert fit_scaling(np.full(29, 0.9), np.full(29, False)) == ConfidenceConfig()
    certain = fit_scaling(np.full(100, 0.7), np.full(100, True))
    assert 0.95 < scaled([0.7], certain)[0] < 1


def test_calibration_error_by_hand() -> None:
    judged = ScoredConfidences(
        np.array([0.95, 0.95, 0.95, 0.95, 0.25]), np.array([1, 1, 1, 0, 1], dtype=bool)
    )
    found = reliability(judged)
    assert found.error == pytest.approx((4 * 0.2 + 0.75) / 5)
    assert found.count.tolist() == [0, 0, 1, 0, 0, 0, 0, 0, 0, 4]
    assert found.accuracy[9] == 0.75
    nothing = ScoredConfidences(np.zeros(0), np.zeros(0, dtype=bool))
    assert (reliability(nothing).error, reliability(nothing).nats) == (0.0, 0.0)
    assert reliability(ScoredConfidences(np.array([1.0]), np.array([True]))).count[9] == 1


def test_the_picture_of_reliability_is_a_png(tmp_path: Path) -> None:
    judged = ScoredConfidences(np.linspace(0.1, 1, 50), np.arange(50) % 3 > 0)
    draw_reliability({"axe, tokens": (judged, judged)}, tmp_path / "new" / "reliability.png")
    assert (tmp_path / "new" / "reliability.png").read_bytes().startswith(b"\x89PNG")


def test_recognition_scales_confidences_by_mode_and_keeps_texts(tmp_path: Path) -> None:
    plain = load(save_random_model(tmp_path / "plain"))
    config = plain.config.model_copy(
        update={"confidences": {"axe": ConfidenceConfig(temperature=4.0, offset=0.5)}}
    )
    copy_model_folder(tmp_path / "plain", tmp_path / "scaled", config)
    calibrated = load(tmp_path / "scaled")
    assert calibrated.config == config
    for mode in plain.modes:
        before, after = (one.transcribe(noise(2.0), mode) for one in (plain, calibrated))
        assert before.text == after.text != ""
        raw, found = ([t.confidence for t in one.tokens] for one in (before, after))
        wanted = scaled(raw, config.confidences["axe"]).tolist() if mode == "axe" else raw
        assert found == pytest.approx(wanted, abs=1e-6)


def test_a_copy_does_not_take_the_place_of_anything(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path / "plain")
    config = load_model_folder(folder).config
    with refused(ModelError, f"{folder}: "):
        copy_model_folder(folder, folder, config)
    assert load_model_folder(folder).config == config


def test_a_temperature_of_nothing_is_refused(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path / "plain")
    with (folder / "config.yaml").open("a") as file:
        file.write("confidences: {axe: {temperature: 0.0}}\n")
    text = (folder / "config.yaml").read_text().replace("confidences: {}\n", "")
    (folder / "config.yaml").write_text(text)
    with refused(RecipeError, "temperature"):
        load(folder)


@pytest.mark.parametrize("name", sorted(shipped_models()))
def test_shipped_models_are_calibrated(name: str) -> None:
    config = load_model_folder(shipped_models()[name]).config
    assert {"axe", "ctc"} <= set(config.confidences)
    assert all(0.1 < one.temperature < 10 for one in config.confidences.values())
    assert config.speech_check is not None
    assert config.speech_check.doubt < 0 < config.speech_check.agreement


def test_confidences_of_the_shipped_demo_can_be_believed(tmp_path: Path) -> None:
    """On voices that neither training nor calibration heard."""
    manifests = make_corpus(tmp_path, SyntheticCorpus("mandarin", train=0, dev=0, test=40, seed=9))
    recognizer = load("demo")
    confidences: list[float] = []
    right: list[bool] = []
    for cut in load_manifest(manifests["test"]):
        found = recognizer.transcribe(cut.recording.sources[0].source, "attention")
        confidences += [token.confidence for token in found.tokens]
        right += right_units(list(cut.supervisions[0].text), list(found.text))
    assert len(right) > 80
    assert reliability(ScoredConfidences(np.array(confidences), np.array(right))).error < 0.1


@pytest.mark.parametrize("keyframes", [True, False])
def test_a_stage_measures_its_greedy_modes(keyframes: bool, tmp_path: Path) -> None:
    manifests = make_corpus(tmp_path, SyntheticCorpus("english", train=0, dev=12, test=0, seed=4))
    model = random_model(keyframes)
    store = FeatureStore(Fbank(FeaturesConfig(num_mel_bins=16)), keep=False)
    cuts = load_manifest(manifests["dev"])
    found = measure_confidences(model.network, model.tokenizer, store, cuts)
    assert set(found) == ({"axe", "ctc"} if keyframes else {"ctc"})
    # nearly nothing that random weights say is right, however sure they are of it
    assert all(scaled([0.9], one)[0] < 0.6 for one in found.values())
    assert not model.network.training
