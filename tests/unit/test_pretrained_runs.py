"""Runs on a pretrained encoder with all else that a recipe may ask for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from fixtures.errors import names
from fixtures.processes import train_in_processes
from fixtures.tiny_pretrained import WHISPER, pretrained_config, write_source
from fixtures.tone_corpus import MODEL, random_texts, recipe_data, small_corpus, stage, write_corpus
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import Recipe, StageConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.corpora import tables
from keyframe_asr.data.corpora.preparation import prepare_corpus
from keyframe_asr.data.corpora.preparation_options import PreparationOptions
from keyframe_asr.data.dataset import Batch
from keyframe_asr.data.statistics import load_statistics
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import load_tokenizer
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.plan import plan_recipe
from keyframe_asr.training.run import train

FROZEN = stage("frozen", 1)
UNFROZEN = stage("unfrozen", 1, unfreeze_from_layer=2)
MASKS = {"spec_augment": 1.0, "time_mask_frames": 5, "frequency_mask_bins": 3}
TIMES = ("seconds", "waiting_share")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source"), WHISPER)


def data_of(
    corpus: Path, source: Path, stages: list[dict[str, Any]], **augment: Any
) -> dict[str, Any]:
    data = recipe_data(corpus, stages)
    data["model"] = MODEL | {"pretrained": {"family": "whisper", "source": str(source)}}
    data["augment"] = {"speeds": [0.9, 1.1]} | MASKS | augment
    return data


def stored(folder: Path) -> int:
    return len(list((folder / "encodings").glob("*/*/*.npy")))


def log_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: one[name] for name in one if name not in TIMES} for one in lines]


def test_what_changes_in_each_epoch_is_not_stored(
    corpus: Path, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only what statistics were measured on is: the training set, at the speed it has."""
    noise = {"folder": str(corpus.parent), "share": 0.2, "seconds": [0.3, 0.6]}
    augment = {"volume": {"probability": 1.0}, "non_speech": noise}
    recipe = parse_config(Recipe, data_of(corpus, source, [FROZEN], **augment), "tones")
    train(recipe, tmp_path / "run")
    assert stored(tmp_path / "run") == 12
    assert "warning: stage 'frozen'" in capfd.readouterr().err
    plain = parse_config(Recipe, data_of(corpus, source, [FROZEN]), "tones")
    train(plain, tmp_path / "plain")
    assert stored(tmp_path / "plain") == 12 + 2 * 12 + 4
    assert "warning" not in capfd.readouterr().err


@pytest.mark.parametrize("one", [FROZEN, UNFROZEN], ids=["frozen", "unfrozen"])
def test_how_it_is_loaded_changes_nothing(
    corpus: Path, source: Path, tmp_path: Path, one: dict[str, Any]
) -> None:
    """Masks of stored outputs and of those computed on the way follow from names alone."""
    for workers in (0, 2):
        data = data_of(corpus, source, [one])
        data["training"] |= {"workers": workers}
        train(parse_config(Recipe, data, "tones"), tmp_path / str(workers), quiet=True)
    assert log_of(tmp_path / "0") == log_of(tmp_path / "2")


def test_outputs_computed_on_the_way_are_masked_by_name(corpus: Path) -> None:
    torch.manual_seed(1)
    config = parse_config(ModelConfig, MODEL, "model")
    config = config.model_copy(update={"pretrained": pretrained_config(WHISPER)})
    network = KeyframeNetwork(config, 80, 9)
    objective = StageObjective(network, parse_config(StageConfig, UNFROZEN, "stage")).train()
    seen: dict[str, tuple[int, ...]] = {}

    def masked(outputs: torch.Tensor, name: str) -> torch.Tensor:
        seen[name] = tuple(outputs.shape)
        return torch.zeros_like(outputs)

    given = Batch(
        ("one", "two"),
        torch.randn(2, 60, 80),
        torch.tensor([60, 41]),
        torch.tensor([[3, 4], [5, 0]]),
        torch.tensor([2, 1]),
        1.01,
    )
    objective.masking = masked
    objective(given)
    assert seen == {"one": (30, 16), "two": (21, 16)}
    seen.clear()
    objective.eval()(given)
    objective.train()(replace(given, features=torch.randn(2, 60, 16), pre_encoded=True))
    assert not seen


def test_plan_of_a_pretrained_encoder(corpus: Path, source: Path, tmp_path: Path) -> None:
    """It has the encoder's size; a frozen one needs no memory for its gradient. It does not run."""
    recipe = parse_config(Recipe, data_of(corpus, source, [FROZEN, UNFROZEN]), "tones")
    plan = plan_recipe(recipe, tmp_path)
    assert plan.parameters["pretrained"] > 5000
    assert plan.stages[1].memory > plan.stages[0].memory + 100_000
    assert stored(tmp_path) == 0


def prepared_data(source: Path, folder: Path) -> dict[str, Any]:
    texts = {"train": random_texts(8, 1), "dev": random_texts(3, 2)}
    table = write_corpus(folder, texts)
    options = PreparationOptions("characters")
    prepare_corpus(tables.read_table(table, "en"), folder / "out", options)
    data = data_of(table, source, [FROZEN])
    return data | {"data": {"prepared": str(folder / "out")}}


def test_on_a_prepared_corpus(source: Path, tmp_path: Path) -> None:
    """Its statistics are of fbank: those of the encoder's outputs are measured."""
    data = prepared_data(source, tmp_path / "corpus")
    train(parse_config(Recipe, data, "tones"), tmp_path / "run", quiet=True)
    prepared, own = load_statistics(tmp_path / "corpus" / "out"), load_statistics(tmp_path / "run")
    assert len(prepared["mean"]) == 80 and len(own["mean"]) == 16
    tokenizers = [load_tokenizer(one) for one in (tmp_path / "corpus" / "out", tmp_path / "run")]
    assert tokenizers[0].vocab_size == tokenizers[1].vocab_size
    assert tokenizers[0].encode("ABCDEF") == tokenizers[1].encode("ABCDEF")


def test_further_manifests_beside_a_prepared_corpus(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = prepared_data(source, tmp_path / "corpus")
    more = write_corpus(tmp_path / "more", {"more": ["AB", "FACE"]}, "more.tsv")
    more.write_text(more.read_text().replace("\tAB\t", "\tABZ\t"))
    data["data"] |= {"more_train": [f"{more}:more"]}
    train(parse_config(Recipe, data, "tones"), tmp_path / "run")
    assert stored(tmp_path / "run") == 10 + 2 * 10 + 3
    card = (tmp_path / "run" / "frozen" / "model" / "README.md").read_text()
    assert "`out`, `more.tsv:more`" in card
    assert "(Z)" in capfd.readouterr().err


@pytest.mark.slow
def test_two_processes_store_each_their_share(corpus: Path, source: Path, tmp_path: Path) -> None:
    """And train what one trains, with stored outputs and with those computed on the way."""
    data = data_of(corpus, source, [FROZEN, UNFROZEN])
    still = {name: MODEL[name] | {"dropout": 0.0} for name in ("encoder", "decoder")}  # type: ignore[operator]
    data["model"] |= still
    path = tmp_path / "tones.yaml"
    path.write_text(yaml.safe_dump(data))
    for count in (1, 2):
        done = train_in_processes(path, tmp_path / str(count), count)
        assert done.exit_code == 0, done.stderr
        assert stored(tmp_path / str(count)) == 12 + 2 * 12 + 4
    for alone, together in zip(log_of(tmp_path / "1"), log_of(tmp_path / "2"), strict=True):
        assert alone["stage"] == together["stage"]
        for name in {"loss", "dev_loss"} & set(alone):
            assert together[name] == pytest.approx(alone[name], rel=1e-3), (alone["stage"], name)
    # 12 at another speed, 24 copies and the dev set: half of what statistics had not stored yet
    assert names(done.stderr, 14)
