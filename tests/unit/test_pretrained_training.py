"""Training on a pretrained encoder end to end, and what the model folder can do alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import keyframe_asr
from fixtures.errors import refused
from fixtures.tiny_pretrained import WAV2VEC2, WHISPER, write_source, write_whole_whisper
from fixtures.tone_corpus import MODEL, recipe_data, small_corpus, stage, tones
from keyframe_asr.config.recipe import Recipe, load_recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.errors import ModelError, RecipeError
from keyframe_asr.evaluation.inspection import inspection_view
from keyframe_asr.evaluation.scoring import Scoring
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.training.checkpoint import load_weights
from keyframe_asr.training.plan import plan_recipe
from keyframe_asr.training.run import train

STAGES = [
    stage("baseline", 1),
    stage("unfrozen", 1, unfreeze_from_layer=2, pretrained_learning_rate=1e-2),
    stage("keyframes", 1, fusion=True, keyframes=True),
]


def recipe(table: Path, source: Path, family: str, **pretrained: Any) -> Recipe:
    data = recipe_data(table, STAGES)
    described = {"family": family, "source": str(source)} | pretrained
    data["model"] = MODEL | {"pretrained": described}
    data["augment"] = {"speeds": [1.0, 1.1], "time_mask_frames": 5, "frequency_mask_bins": 3}
    return parse_config(Recipe, data, "tones")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a tiny whisper, whose own folder is gone by the time it is used."""
    folder = tmp_path_factory.mktemp("pretrained")
    source = write_source(folder / "source", WHISPER)
    train(
        recipe(small_corpus(folder / "corpus"), source, "whisper", layers=[1, 3]),
        folder / "run",
        quiet=True,
    )
    shutil.rmtree(source)
    return folder


def pretrained_weights(trained: Path, name: str) -> dict[str, torch.Tensor]:
    weights = load_weights(trained / "run" / name / "averaged.safetensors")
    return {key: one for key, one in weights.items() if key.startswith("pretrained.")}


def test_only_the_layers_a_stage_unfreezes_are_trained(trained: Path) -> None:
    baseline = pretrained_weights(trained, "baseline")
    unfrozen = pretrained_weights(trained, "unfrozen")
    changed = {name for name in baseline if not torch.equal(baseline[name], unfrozen[name])}
    assert changed
    assert all("layers.1." in one or "layers.2." in one or "layer_norm" in one for one in changed)
    assert not any("layers.0." in one for one in changed)
    later = pretrained_weights(trained, "keyframes")
    assert all(torch.equal(unfrozen[name], later[name]) for name in unfrozen)


def test_outputs_are_stored_for_each_state_of_the_encoder(trained: Path) -> None:
    stores = sorted((trained / "run" / "encodings").iterdir())
    assert len(stores) == 2  # as it came, and after the stage that trained some of it
    files = [len(list(one.glob("*/*.npy"))) for one in stores]
    assert files == [12 * 2 + 4] * 2  # train at two speeds, dev
    assert not list((trained / "run" / "encodings").glob("*/*/.*"))


def test_the_model_folder_needs_nothing_else(trained: Path) -> None:
    recognizer = keyframe_asr.load(trained / "run" / "keyframes" / "model", device="cpu")
    samples = tones("ABC")
    transcript = recognizer.transcribe(samples)
    assert 0 <= transcript.frame_reduction <= 1
    assert abs(transcript.duration - len(samples) / 16_000) < 1e-6
    view = inspection_view(recognizer, samples)
    assert view.frame_seconds == 0.04
    assert len(view.inter_probabilities) == -(-(len(samples) // 160) // 4)
    report = Scoring(recognizer, ["axe", "attention"]).run(f"{trained / 'corpus/corpus.tsv'}:dev")
    assert report["utterances"] == 4


def test_recognition_does_not_depend_on_the_batch(trained: Path) -> None:
    recognizer = keyframe_asr.load(trained / "run" / "keyframes" / "model", device="cpu")
    samples = [tones("A"), tones("FEDCBA"), tones("BAD")]
    batch = recognizer.encode(samples).encoded
    for row, one in enumerate(samples):
        alone = recognizer.encode([one]).encoded
        frames, kept = int(alone.frame_lengths[0]), int(alone.keyframe_lengths[0])
        np.testing.assert_allclose(
            batch.inter_log_probs[row, :frames], alone.inter_log_probs[0], atol=1e-4, rtol=1e-4
        )
        np.testing.assert_allclose(
            batch.memory[row, :kept], alone.memory[0, :kept], atol=1e-4, rtol=1e-4
        )


def test_embeddings_are_as_many_as_keyframes(trained: Path) -> None:
    recognizer = keyframe_asr.load(trained / "run" / "keyframes" / "model", device="cpu")
    module_of(recognizer.network).inter_ctc.bias.data[
        0
    ] = -9.0  # so little training leaves only blanks
    samples = tones("ABCD")
    found = recognizer.embed(samples)
    kept = recognizer.encode([samples]).encoded
    assert found.vectors.shape == (int(kept.keyframe_lengths[0]), 16)
    np.testing.assert_allclose(found.times, kept.keyframes[0] * 0.04)
    assert (np.diff(found.times) > 0).all() and found.times[-1] <= found.duration
    recognizer.config = recognizer.config.model_copy(update={"emission_delay_seconds": 0.1})
    moved = np.maximum(kept.keyframes[0] * 0.04 - 0.1, 0)
    np.testing.assert_allclose(recognizer.embed(samples).times, moved)
    silent = recognizer.embed(np.zeros(8000, "f4"))
    assert silent.vectors.shape == (0, 16) and silent.times.shape == (0,)


def test_a_model_that_keeps_all_frames_has_no_embeddings(trained: Path) -> None:
    recognizer: Recognizer = keyframe_asr.load(trained / "run" / "baseline" / "model", "cpu")
    with refused(ModelError):
        recognizer.embed(tones("A"))


def test_a_resumed_run_reads_what_is_stored(trained: Path, tmp_path: Path) -> None:
    """A run that ended is resumed with a further stage, from its folder alone."""
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    stored = load_recipe(run / "recipe.yaml")
    assert stored.model.pretrained is not None and stored.model.pretrained.architecture is not None
    before = {path: path.stat().st_mtime_ns for path in (run / "encodings").glob("*/*/*.npy")}
    longer = stored.model_copy(
        update={"stages": [*stored.stages, stored.stages[2].model_copy(update={"name": "more"})]}
    )
    train(longer, run, resume=True, quiet=True)
    assert (run / "more" / "model" / "model.safetensors").is_file()
    after = {path: path.stat().st_mtime_ns for path in (run / "encodings").glob("*/*/*.npy")}
    assert after == before


def test_wav2vec2_trains_as_well(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", WAV2VEC2)
    table = small_corpus(tmp_path / "corpus")
    model = train(recipe(table, source, "wav2vec2"), tmp_path / "run", quiet=True).model
    recognizer = keyframe_asr.load(model, device="cpu")
    assert recognizer.transcribe(tones("AB")).duration > 0
    assert recognizer.transcribe(np.zeros(100, "f4")).text == ""


def test_the_family_must_be_that_of_the_source(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", WHISPER)
    table = small_corpus(tmp_path / "corpus")
    with refused(ModelError, "'whisper'", "wav2vec2"):
        train(recipe(table, source, "wav2vec2"), tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_unfreezing_needs_a_pretrained_encoder(tmp_path: Path) -> None:
    data = recipe_data(tmp_path / "corpus.tsv", STAGES)
    with refused(RecipeError, "'unfrozen'"):
        parse_config(Recipe, data, "tones")


def test_a_plan_from_a_model_on_an_encoder(tmp_path: Path, trained: Path) -> None:
    table = small_corpus(tmp_path / "corpus")
    model = trained / "run" / "baseline" / "model"
    planned = recipe(table, model, "whisper", layers=[1, 3])
    (tmp_path / "scratch").mkdir()
    plan = plan_recipe(planned, tmp_path / "scratch", model)
    assert [stage.name for stage in plan.stages] == ["baseline", "unfrozen", "keyframes"]


def test_a_plan_with_a_pretrained_decoder(tmp_path: Path) -> None:
    source = str(write_whole_whisper(tmp_path / "whole"))
    alone = {"inter_ctc": 0.0, "head": 0.0, "head_loss": "none", "decoder": 1.0}
    last = stage("decoder", 1, keyframes=True, losses=alone, select_by="loss")
    data = recipe_data(small_corpus(tmp_path / "corpus"), [last])
    data["model"] = MODEL | {
        "pretrained": {"family": "whisper", "source": source},
        "decoder": {"kind": "pretrained", "source": source},
    }
    (tmp_path / "scratch").mkdir()
    plan = plan_recipe(parse_config(Recipe, data, "tones"), tmp_path / "scratch")
    assert plan.parameters["decoder_memory"] > 0
    assert all(one.memory > 4 * sum(plan.parameters.values()) for one in plan.stages)


def test_several_training_manifests_are_one(tmp_path: Path) -> None:
    table = small_corpus(tmp_path / "corpus")
    data = recipe_data(table, [stage("baseline", 1)])
    data["data"] = {
        "train": f"{table}:train",
        "more_train": [f"{table}:dev"],
        "dev": f"{table}:dev",
    }
    train(parse_config(Recipe, data, "tones"), tmp_path / "run", quiet=True)
    card = (tmp_path / "run" / "baseline" / "model" / "README.md").read_text()
    assert "`corpus.tsv:train`, `corpus.tsv:dev`" in card
    assert len(load_manifest(f"{table}:train")) == 12
    data["data"]["more_train"] = [f"{table}:train"]
    with refused(keyframe_asr.errors.ManifestError, f"{table}:train"):
        train(parse_config(Recipe, data, "tones"), tmp_path / "other", quiet=True)
