"""Model folders: written and read back, and every way in which one can be broken."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import keyframe_asr
from fixtures.errors import refused
from keyframe_asr.config.model import (
    DecoderConfig,
    EncoderConfig,
    FeaturesConfig,
    ModelConfig,
    ModelFolderConfig,
    SubsamplingConfig,
)
from keyframe_asr.errors import ModelError, RecipeError
from keyframe_asr.io.model_folder import load_model_folder, save_model_folder, shipped_models
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import CharacterTokenizer

CONFIG = ModelConfig(
    subsampling=SubsamplingConfig(channels=8),
    encoder=EncoderConfig(layers=2, keyframe_layer=1, dim=16, heads=2, feed_forward=32),
    decoder=DecoderConfig(layers=1, heads=2, feed_forward=32),
)
TOKENIZER = CharacterTokenizer("ABCDEF")
FOLDER = ModelFolderConfig(
    name="tiny",
    language="en",
    vocab_size=9,
    keyframes=True,
    fusion=True,
    features=FeaturesConfig(num_mel_bins=16),
    model=CONFIG,
)


def network() -> KeyframeNetwork:
    torch.manual_seed(3)
    built = KeyframeNetwork(CONFIG, 16, 9)
    built.normalisation.mean.fill_(8.123456)
    return built


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model_folder(tmp_path / "tiny", network(), TOKENIZER, FOLDER, "# tiny\n")
    return tmp_path / "tiny"


def test_what_is_written_is_read_back(folder: Path) -> None:
    loaded = load_model_folder(folder)
    assert loaded.config == FOLDER
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("FACE")) == "FACE"
    assert loaded.network.keyframes_enabled and loaded.network.fusion_enabled
    assert not loaded.network.training
    expected = network().state_dict()
    for name, tensor in loaded.network.state_dict().items():
        assert tensor.dtype == expected[name].dtype
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4)
    assert torch.equal(loaded.network.normalisation.mean, torch.full((16,), 8.123456))
    assert load_file(folder / "model.safetensors")["head.weight"].dtype == torch.float16
    assert (folder / "README.md").read_text() == "# tiny\n"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["tiny"]


def test_a_model_folder_is_replaced_but_nothing_else_is(folder: Path, tmp_path: Path) -> None:
    save_model_folder(folder, network(), TOKENIZER, FOLDER, "second\n")
    assert (folder / "README.md").read_text() == "second\n"
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "draft.txt").write_text("years of work")
    with refused(ModelError, f"{tmp_path / 'papers'}: "):
        save_model_folder(tmp_path / "papers", network(), TOKENIZER, FOLDER, "")
    assert (tmp_path / "papers" / "draft.txt").exists()


def test_weights_beyond_float16_are_not_written(tmp_path: Path) -> None:
    broken = network()
    broken.head.weight.data[0, 0] = 1e6
    with refused(ModelError, "head.weight"):
        save_model_folder(tmp_path / "broken", broken, TOKENIZER, FOLDER, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors", "tokenizer.txt"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with refused(ModelError, name):
        keyframe_asr.load(folder)


def test_damaged_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with refused(ModelError, f"{weights}: "):
        keyframe_asr.load(folder)


def test_weights_of_another_model(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {"head.weight": torch.zeros(9, 4)}, path)
    with refused(ModelError, f"{path}: ", "'head.weight'", "(9, 4)", "(9, 16)"):
        keyframe_asr.load(folder)
    save_file({name: tensor for name, tensor in weights.items() if name != "head.weight"}, path)
    with refused(ModelError, f"{path}: ", "'head.weight'"):
        keyframe_asr.load(folder)
    save_file(weights | {"extra": torch.zeros(1)}, path)
    with refused(ModelError, f"{path}: ", "'extra'"):
        keyframe_asr.load(folder)


def test_weights_that_are_not_finite(folder: Path) -> None:
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["head.weight"][0, 0] = float("nan")
    save_file(weights, path)
    with refused(ModelError, f"{path}: ", "'head.weight'"):
        keyframe_asr.load(folder)


def test_a_tokenizer_of_another_model(folder: Path) -> None:
    (folder / "tokenizer.txt").write_bytes(CharacterTokenizer("AB").content())
    with refused(ModelError, " 5 "):
        keyframe_asr.load(folder)


def test_an_unknown_key_in_the_config(folder: Path) -> None:
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("fusion: true", "fussion: true"))
    with refused(RecipeError, "'fussion'", "'fusion'"):
        keyframe_asr.load(folder)


def test_a_missing_model_lists_the_shipped_ones(tmp_path: Path) -> None:
    with refused(ModelError, "no-such-model: ", ", ".join(shipped_models())):
        keyframe_asr.load("no-such-model")
    with refused(ModelError, f"{tmp_path}: ", "config.yaml"):
        keyframe_asr.load(tmp_path)


def test_the_folder_of_a_run_points_to_its_model(tmp_path: Path) -> None:
    save_model_folder(tmp_path / "run" / "model", network(), TOKENIZER, FOLDER, "")
    with refused(ModelError, f"{tmp_path / 'run'}: ", "model"):
        keyframe_asr.load(tmp_path / "run")


def test_shipped_models_load_by_name() -> None:
    for name in shipped_models():
        assert keyframe_asr.load(name, "cpu").modes
