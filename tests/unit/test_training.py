"""A small run from recipe to model folder, and what it leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

import keyframe_asr
from fixtures.errors import refused
from fixtures.tone_corpus import (
    MEL_BINS,
    MODEL,
    recipe_data,
    small_corpus,
    stage,
    three_stages,
    tone_recipe,
    tones,
    write_corpus,
)
from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.model import FeaturesConfig, ModelConfig
from keyframe_asr.config.recipe import StageConfig, load_recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.config.training import TrainingConfig
from keyframe_asr.data.dataset import Batch, SpeechDataset
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.errors import ManifestError, RecipeError
from keyframe_asr.io.model_folder import load_model_folder
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import load_tokenizer
from keyframe_asr.timing import SAMPLE_RATE
from keyframe_asr.training import checkpoint
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.optimiser import optimiser
from keyframe_asr.training.run import train
from keyframe_asr.training.step import Updater


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def run(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "tones"
    stages = three_stages(epochs=3)
    done = train(tone_recipe(corpus, stages, accumulate=2), folder, quiet=True)
    assert (done.folder, done.model) == (folder, folder / "keyframes" / "model")
    assert list(done.validations) == ["baseline", "fusion", "keyframes"]
    return folder


def test_every_stage_leaves_a_model(run: Path) -> None:
    for name, keyframes, fusion in (
        ("baseline", False, False),
        ("fusion", False, True),
        ("keyframes", True, True),
    ):
        model = load_model_folder(run / name / "model")
        assert (model.config.keyframes, model.config.fusion) == (keyframes, fusion)
        averaged = load_file(run / name / "averaged.safetensors")
        for key, tensor in model.network.state_dict().items():
            expected = averaged[key]
            if not key.startswith("normalisation"):
                expected = expected.half().float()
            assert torch.equal(tensor, expected), key


def test_stage_is_the_average_of_its_best_epochs(run: Path) -> None:
    for name in ("baseline", "fusion", "keyframes"):
        kept = sorted((run / name).glob("epoch-*.safetensors"))
        assert len(kept) == 2
        weights = [load_file(path) for path in kept]
        for key, tensor in load_file(run / name / "averaged.safetensors").items():
            mean = (weights[0][key].double() + weights[1][key].double()) / 2
            torch.testing.assert_close(tensor, mean.float(), rtol=0, atol=0)


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_best_epochs_are_those_of_the_log(run: Path) -> None:
    for name in ("baseline", "fusion", "keyframes"):
        epochs = [one for one in log_of(run) if one["stage"] == name and "epoch" in one]
        assert [one["epoch"] for one in epochs] == [1, 2, 3]
        best = sorted(epochs, key=lambda one: (one["dev_error"], -one["epoch"]))[:2]
        kept = {path.stem for path in (run / name).glob("epoch-*.safetensors")}
        assert kept == {f"epoch-{one['epoch']:04d}" for one in best}


def test_log_tells_what_matters(run: Path) -> None:
    for one in log_of(run):
        if "averaged" in one:
            continue
        assert one["loss"] > 0
        weighed = sum(
            w * one[f"loss_{n}"] for n, w in (("inter_ctc", 0.3), ("head", 0.3), ("decoder", 0.4))
        )
        assert one["loss"] == pytest.approx(weighed, rel=1e-4)
        assert 0 < one["learning_rate"] <= 2e-3
        assert one["dev_error"] >= 0
        assert 0 <= one["keyframes_per_token"] < 10
        assert 0 <= one["frame_reduction"] <= 1
    assert [one["stage"] for one in log_of(run) if one.get("averaged")] == [
        "baseline",
        "fusion",
        "keyframes",
    ]


def test_tensorboard_has_the_same_numbers(run: Path) -> None:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    for one in log_of(run):
        if "epoch" in one:
            for name in ("loss", "learning_rate", "keyframes_per_token", "dev_error"):
                assert f"{one['stage']}/{name}" in tags
    losses = [one["loss"] for one in log_of(run) if one["stage"] == "fusion" and "epoch" in one]
    assert [event.value for event in events.Scalars("fusion/loss")] == pytest.approx(losses)


def test_loss_goes_down(run: Path) -> None:
    losses = [one["loss"] for one in log_of(run) if one["stage"] == "baseline" and "epoch" in one]
    assert losses[-1] < losses[0]


def test_features_are_normalised_by_the_training_set(run: Path, corpus: Path) -> None:
    store = FeatureStore(Fbank(FeaturesConfig(num_mel_bins=MEL_BINS)), keep=False)
    frames = torch.cat([store(cut) for cut in load_manifest(f"{corpus}:train")])
    weights = load_file(run / "baseline" / "averaged.safetensors")
    torch.testing.assert_close(weights["normalisation.mean"], frames.mean(0), rtol=1e-4, atol=1e-4)
    deviation = frames.std(0, correction=0)
    torch.testing.assert_close(
        weights["normalisation.inverse_std"], 1 / deviation, rtol=1e-3, atol=1e-4
    )


def test_same_seed_same_weights(corpus: Path, tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        recipe = tone_recipe(corpus, [stage("only", 1)]).model_copy(update={"seed": seed})
        train(recipe, tmp_path / name, quiet=True)
        found.append(load_file(tmp_path / name / "only" / "averaged.safetensors")["head.weight"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_features_in_memory_change_nothing(corpus: Path, tmp_path: Path) -> None:
    found = []
    for keep in (True, False):
        recipe = tone_recipe(corpus, [stage("only")], keep_features_in_memory=keep)
        train(recipe, tmp_path / str(keep), quiet=True)
        found.append(load_file(tmp_path / str(keep) / "only" / "averaged.safetensors"))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_bfloat16_after_float32_in_one_process(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "keyframe_asr.training.precision.cpu_computes_bfloat16", lambda: True
    )  # if slowly
    for precision in ("float32", "bfloat16"):
        recipe = tone_recipe(corpus, [stage("only", 1)], precision=precision)
        train(recipe, tmp_path / precision, quiet=True)
    weights = [
        load_file(tmp_path / precision / "only" / "averaged.safetensors")["head.weight"]
        for precision in ("float32", "bfloat16")
    ]
    assert weights[1].dtype == torch.float32
    assert not torch.equal(*weights)
    torch.testing.assert_close(*weights, rtol=0, atol=2e-2)


def test_from_python(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe's path, or a recipe; the model is loaded where the result says it is."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tones.yaml"
    path.write_text(yaml.safe_dump(recipe_data(corpus, [stage("only", 3)])))
    done = keyframe_asr.train(path, overrides=["stages.0.epochs=1", "name=short"], quiet=True)
    assert done.folder == Path("runs/short")
    assert list(done.validations) == ["only"]
    assert done.validations["only"].frame_reduction >= 0
    found = keyframe_asr.load(done.model, "cpu").transcribe(tones("ABC"))
    assert found.duration == pytest.approx(tones("ABC").size / SAMPLE_RATE)
    again = keyframe_asr.train(
        load_recipe(path), tmp_path / "again", ["stages.0.epochs=1"], quiet=True
    )
    assert again.folder == tmp_path / "again"
    weights = [load_file(one.folder / "only" / "averaged.safetensors") for one in (done, again)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    with refused(RecipeError, "'sede'"):
        keyframe_asr.train(load_recipe(path), tmp_path / "other", ["sede=1"])


FROZEN = {"learning_rate": 1e-12, "warmup_steps": 0, "average_best": 1}


def test_stage_starts_from_the_named_one(corpus: Path, tmp_path: Path) -> None:
    stages = [
        stage("first", 1),
        stage("second", 1),
        stage("branch", 1, start_from="first", **FROZEN),
        stage("after", 1, **FROZEN),
    ]
    train(tone_recipe(corpus, stages, weight_decay=0.0), tmp_path, quiet=True)
    first, second, branch, after = (
        load_file(tmp_path / name / "averaged.safetensors")["head.weight"]
        for name in ("first", "second", "branch", "after")
    )
    assert not torch.allclose(first, second, atol=1e-4)
    torch.testing.assert_close(branch, first, rtol=0, atol=1e-9)
    torch.testing.assert_close(after, branch, rtol=0, atol=1e-9)


def test_stage_reinitialises_parts(corpus: Path, tmp_path: Path) -> None:
    """With what a new network of the recipe's seed has there, and all else as it was."""
    stages = [
        stage("untrained", 1, **FROZEN),
        stage("trained", 1),
        stage("next", 1, reinitialise=["head", "decoder"], **FROZEN),
        stage("more", 1),
        stage("branch", 1, start_from="trained", reinitialise=["head"], **FROZEN),
    ]
    train(tone_recipe(corpus, stages, weight_decay=0.0), tmp_path, quiet=True)
    weights = {
        one["name"]: load_file(tmp_path / one["name"] / "averaged.safetensors") for one in stages
    }
    apart = [
        {name.split(".")[0] for name, one in weights["trained"].items() if moved(one, other[name])}
        for other in (weights["untrained"], weights["more"])
    ]
    assert all({"encoder1", "encoder2", "head", "decoder"} <= parts for parts in apart)
    for found in ("next", "branch"):
        parts = next(one["reinitialise"] for one in stages if one["name"] == found)
        for name, weight in weights[found].items():
            expected = weights["untrained" if name.split(".")[0] in parts else "trained"]
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-9)
    card = (tmp_path / "next" / "model" / "README.md").read_text(encoding="utf-8")
    assert "next (" in card and "head" in card and "decoder" in card


def moved(one: Tensor, other: Tensor) -> bool:
    return not torch.allclose(one, other, rtol=0, atol=1e-4)


def test_stage_with_a_manifest_of_its_own(corpus: Path, tmp_path: Path) -> None:
    other = write_corpus(tmp_path / "other", {"train": ["AB", "CD", "EF"]})
    stages = [stage("warm", 1, train=f"{other}:train"), stage("only", 1)]
    train(tone_recipe(corpus, stages), tmp_path / "run", quiet=True)
    seconds = {
        one["stage"]: one["audio_seconds"] for one in log_of(tmp_path / "run") if "epoch" in one
    }
    spoken = sum(cut.duration for cut in load_manifest(f"{other}:train"))
    assert seconds["warm"] == pytest.approx(spoken, rel=0.12), "but for the speeds"
    assert seconds["only"] > 2 * seconds["warm"]


def test_stage_with_several_manifests(corpus: Path, tmp_path: Path) -> None:
    others = [write_corpus(tmp_path / name, {name: ["AB", "CD"]}) for name in ("train", "more")]
    names = [f"{others[0]}:train", f"{others[1]}:more"]
    recipe = tone_recipe(corpus, [stage("both", 1, train=names), stage("one", 1, train=names[:1])])
    train(recipe, tmp_path / "run", quiet=True)
    both, one = (row["audio_seconds"] for row in log_of(tmp_path / "run") if "epoch" in row)
    assert both == pytest.approx(2 * one, rel=0.25), "but for the speeds"
    card = (tmp_path / "run" / "both" / "model" / "README.md").read_text(encoding="utf-8")
    assert "`corpus.tsv:train`, `corpus.tsv:more`" in card
    twice = tone_recipe(corpus, [stage("twice", 1, train=2 * names[:1])])
    with refused(ManifestError, names[0]):
        train(twice, tmp_path / "again", quiet=True)


def test_initial_weights(corpus: Path, run: Path, tmp_path: Path) -> None:
    recipe = tone_recipe(corpus, [stage("only", 1, **FROZEN)], weight_decay=0.0)
    before = run / "baseline" / "averaged.safetensors"
    train(recipe, tmp_path, initial=before, quiet=True)
    after = load_file(tmp_path / "only" / "averaged.safetensors")
    for name, tensor in load_file(before).items():
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=1e-8, msg=name)


def test_other_initial_weights_are_told(
    corpus: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = load_file(run / "baseline" / "averaged.safetensors")
    weights["head.bias"] = torch.zeros(99)
    checkpoint.save_weights(weights, tmp_path / "initial.safetensors")
    recipe = tone_recipe(corpus, [stage("only", 1)])
    train(recipe, tmp_path / "run", initial=tmp_path / "initial.safetensors")
    assert "head" in (told := capsys.readouterr().err) and "warning: " not in told


def test_text_is_brought_into_its_normal_form(tmp_path: Path) -> None:
    """`keyframe evaluate` scores the normal form, so that is what training has to see."""
    table = small_corpus(tmp_path)
    table.write_text(
        "".join(
            line if number == 0 else line.replace("\tA", "\ta").replace("B", "b,")
            for number, line in enumerate(table.read_text().splitlines(keepends=True))
        )
    )
    train(tone_recipe(table, [stage("only", 1)]), tmp_path / "run", quiet=True)
    tokenizer = load_tokenizer(tmp_path / "run")
    symbols = {tokenizer.piece(token) for token in range(3, tokenizer.vocab_size)}
    assert symbols <= set("ABCDEF ")


def test_empty_text_and_empty_audio_train(tmp_path: Path) -> None:
    """Recordings in which nothing is said are legal, however short."""
    table = write_corpus(tmp_path, {"train": ["ABC", "", "DEF", "", "FA"], "dev": ["ABC", ""]})
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16000)
    with table.open("a") as file:
        file.write("nothing\tnobody\t0\tnothing.wav\t\ttrain\n")
        file.write("nothing-dev\tnobody\t0\tnothing.wav\t\tdev\n")
    train(tone_recipe(table, three_stages(1)), tmp_path / "run", quiet=True)
    weights = load_file(tmp_path / "run" / "keyframes" / "averaged.safetensors")
    assert all(one.isfinite().all() for one in weights.values())


def test_workers_change_nothing(corpus: Path, tmp_path: Path) -> None:
    """Neither the augmentation nor, with no process beside this one, the dropout."""
    found = []
    for workers in (0, 1, 2):
        recipe = tone_recipe(corpus, [stage("only", 1)], workers=workers)
        train(recipe, tmp_path / str(workers), quiet=True)
        weights = load_file(tmp_path / str(workers) / "only" / "averaged.safetensors")
        found.append(weights["head.weight"])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


# One update at a time.

Make = Callable[..., tuple[KeyframeNetwork, Updater]]


@pytest.fixture
def make() -> Make:
    def build(**training: Any) -> tuple[KeyframeNetwork, Updater]:
        torch.manual_seed(6)
        no_dropout = MODEL | {
            "encoder": MODEL["encoder"] | {"dropout": 0.0},
            "decoder": MODEL["decoder"] | {"dropout": 0.0},
        }
        config = parse_config(ModelConfig, no_dropout, "model")
        network = KeyframeNetwork(config, MEL_BINS, 9)
        one = parse_config(StageConfig, stage("one"), "stage")
        settings = parse_config(TrainingConfig, training, "training")
        return network, Updater(Processes(), StageObjective(network, one), one, settings, 100)

    return build


@pytest.fixture(scope="module")
def loaded(corpus: Path, run: Path) -> Callable[[int, int], Batch]:
    cuts = load_manifest(f"{corpus}:train")
    store = FeatureStore(Fbank(FeaturesConfig(num_mel_bins=MEL_BINS)), keep=True)
    dataset = SpeechDataset(store, load_tokenizer(run))
    return lambda first, last: dataset.collate(cuts.subset(cut_ids=list(cuts.ids)[first:last]))


def gradients(
    network: KeyframeNetwork, updater: Updater, batches: list[Batch]
) -> dict[str, Tensor]:
    """What the optimiser was given, as it tells by its first moment: (1 - beta) · gradient."""
    total = sum(len(batch.ids) for batch in batches)
    shared = [
        replace(batch, fraction=len(batch.ids) / total, last=batch is batches[-1])
        for batch in batches
    ]
    updater.update(shared, 1)
    moments = updater.state_dict()["state"]
    named = [
        (name, parameter)
        for decayed in (True, False)
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and (parameter.dim() > 1) == decayed
    ]
    assert len(optimiser(network, 0.1).param_groups[0]["params"]) == sum(
        parameter.dim() > 1 for _, parameter in named
    )
    return {name: moments[place]["exp_avg"] / 0.1 for place, (name, _) in enumerate(named)}


@pytest.mark.parametrize("parts", [[(0, 4), (4, 8)], [(0, 1), (1, 6), (6, 8)]])
def test_accumulated_batches_equal_one(
    make: Make, loaded: Callable[[int, int], Batch], parts: list[tuple[int, int]]
) -> None:
    """Also where the batches have different numbers of utterances."""
    whole = gradients(*make(gradient_clip=1e9), [loaded(0, 8)])
    split = gradients(*make(gradient_clip=1e9), [loaded(*part) for part in parts])
    assert whole.keys() == split.keys()
    assert any(one.abs().max() > 1e-3 for one in whole.values())
    for name, one in whole.items():
        torch.testing.assert_close(split[name], one, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("clip", [0.05, 1e9])
def test_gradient_is_clipped(make: Make, loaded: Callable[[int, int], Batch], clip: float) -> None:
    found = gradients(*make(gradient_clip=clip), [loaded(0, 8)])
    norm = float(torch.stack([one.norm() for one in found.values()]).norm())
    assert norm == pytest.approx(clip, rel=1e-3) if clip < 1 else norm > 1


def test_learning_rate_is_that_of_the_step(make: Make, loaded: Callable[[int, int], Batch]) -> None:
    _, updater = make()
    rates = [updater.update([loaded(0, 2)], step)[0] for step in (1, 2, 8)]
    assert rates == pytest.approx([1e-3, 2e-3, 1e-3])


def test_nothing_is_carried_from_one_update_to_the_next(
    make: Make, loaded: Callable[[int, int], Batch]
) -> None:
    network, updater = make()
    updater.update([loaded(0, 2)], 1)
    assert all(p.grad is None or not p.grad.any() for p in network.parameters())
