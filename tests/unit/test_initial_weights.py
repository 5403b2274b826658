"""Training may start from the weights of another run, even with longer convolutions."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file

from fixtures.errors import refused
from fixtures.random_model import random_model, save_random_model
from fixtures.tiny_pretrained import WHISPER, pretrained_config, random_encoder
from keyframe_asr.config.model import (
    EncoderConfig,
    ModelConfig,
    PretrainedConfig,
    SubsamplingConfig,
)
from keyframe_asr.config.recipe import PartAboveKeyframes
from keyframe_asr.errors import TrainingError
from keyframe_asr.io.model_folder import WEIGHTS_FILE
from keyframe_asr.io.quantisation import with_quantised
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import CharacterTokenizer
from keyframe_asr.training.initial_weights import (
    find_weights,
    load_encoder,
    load_matching,
    vocabulary_parts,
)

VOCABULARY = 7


def network(
    kernel: int, dim: int = 16, pretrained: PretrainedConfig | None = None
) -> KeyframeNetwork:
    encoder = EncoderConfig(
        layers=2, keyframe_layer=1, dim=dim, heads=2, feed_forward=16, kernel=kernel
    )
    config = ModelConfig(
        pretrained=pretrained,
        subsampling=SubsamplingConfig(channels=8),
        encoder=encoder,
        decoder=None,
    )
    return KeyframeNetwork(config, 80, VOCABULARY)


@pytest.mark.parametrize(("before", "after"), [(15, 5), (5, 15), (7, 7)])
def test_depthwise_kernels_keep_their_middle(tmp_path: Path, before: int, after: int) -> None:
    source, target = network(before), network(after)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    assert load_matching(target, tmp_path / "weights.safetensors") == []
    name = "encoder1.layers.0.convolution.depthwise.weight"
    old, new = source.state_dict()[name], target.state_dict()[name]
    shared = min(before, after)
    first, second = (before - shared) // 2, (after - shared) // 2
    kept = new[:, :, second : second + shared]
    torch.testing.assert_close(kept, old[:, :, first : first + shared])
    assert float(new.abs().sum()) == pytest.approx(float(kept.abs().sum()))
    torch.testing.assert_close(target.head.weight, source.head.weight)


def test_weights_of_other_sizes_are_named(tmp_path: Path) -> None:
    weights = network(5).state_dict()
    weights["head.weight"] = torch.ones(VOCABULARY + 1, 16)
    save_file(weights, tmp_path / "larger.safetensors")
    assert load_matching(network(5), tmp_path / "larger.safetensors") == ["head.weight"]


@pytest.mark.parametrize(
    "weights", [{"other": torch.ones(3)}, network(5, dim=32).state_dict()], ids=["other", "wide"]
)
def test_a_file_with_next_to_no_fitting_weights_is_refused(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(weights, tmp_path / "other.safetensors")
    with refused(TrainingError, "other.safetensors: ", "%"):
        load_matching(network(5), tmp_path / "other.safetensors")


def test_a_pretrained_encoder_alone_is_not_enough(tmp_path: Path) -> None:
    """It is most of such a network, but nothing that was trained for it."""
    whisper = pretrained_config(WHISPER)
    narrow, wide = network(5, pretrained=whisper), network(5, dim=64, pretrained=whisper)
    save_file(wide.state_dict(), tmp_path / "wide.safetensors")
    with refused(TrainingError, "wide.safetensors: ", "%"):
        load_matching(narrow, tmp_path / "wide.safetensors")
    parts = [name for name, _ in narrow.named_children() if name != "pretrained"]
    assert load_matching(narrow, tmp_path / "wide.safetensors", parts) == []
    with refused(TrainingError, "wide.safetensors: ", "0%"):
        load_matching(narrow, tmp_path / "wide.safetensors", [*parts, "pretrained"])


def test_a_model_is_named_by_folder_or_name(tmp_path: Path) -> None:
    folder = save_random_model(tmp_path / "model")
    assert find_weights(folder) == find_weights(folder / WEIGHTS_FILE)
    assert find_weights("demo").parent.name == "demo"
    with refused(TrainingError, "nobody: ", ".safetensors"):
        find_weights("nobody")
    with refused(TrainingError, "none.safetensors: "):
        find_weights(tmp_path / "none.safetensors")


def test_forgotten_parts_stay_as_they_are(tmp_path: Path) -> None:
    source, target = network(5), network(5)
    before = {name: one.clone() for name, one in target.state_dict().items()}
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    reinitialise = ["encoder2", "head"]
    assert load_matching(target, tmp_path / "weights.safetensors", reinitialise) == []
    for name, one in target.state_dict().items():
        expected = before if name.split(".")[0] in reinitialise else source.state_dict()
        torch.testing.assert_close(one, expected[name])
    assert not torch.equal(before["head.weight"], source.state_dict()["head.weight"])
    with refused(TrainingError, "'encoder3'", "encoder2"):
        load_matching(target, tmp_path / "weights.safetensors", ["encoder3"])


def test_every_part_that_a_stage_may_reinitialise_is_one_of_the_network() -> None:
    conditioned = EncoderConfig(dim=16, heads=2, layers=2, keyframe_layer=1, self_conditioning=True)
    whole = KeyframeNetwork(ModelConfig(encoder=conditioned), 80, VOCABULARY)
    parts = {name for name, _ in whole.named_children()}
    assert set(get_args(PartAboveKeyframes)) <= parts


def test_weights_of_8_bits_are_scaled(tmp_path: Path) -> None:
    source, target = network(5), network(5)
    weights = source.state_dict()
    save_file(with_quantised(weights, weights), tmp_path / "small.safetensors")
    assert load_matching(target, tmp_path / "small.safetensors") == []
    for name, one in target.state_dict().items():
        step = float(weights[name].abs().max()) / 127
        torch.testing.assert_close(one, weights[name], atol=step, rtol=0.0)


def test_parts_that_know_other_units_are_named(tmp_path: Path) -> None:
    stored = random_model()
    path = find_weights(save_random_model(tmp_path / "model"))
    assert vocabulary_parts(stored.network, path, stored.tokenizer) == []
    others, more = CharacterTokenizer("ABCDEX"), CharacterTokenizer("ABCDEFG")
    found = vocabulary_parts(stored.network, path, others)
    assert found == ["inter_ctc", "head", "decoder"]  # it has no conditioning
    assert vocabulary_parts(stored.network, path, more) == []  # whose shapes do not fit


def test_the_encoder_of_the_weights_is_the_one_that_statistics_are_of(tmp_path: Path) -> None:
    trained, original = random_encoder(WHISPER, seed=5), random_encoder(WHISPER, seed=6)
    named = {f"pretrained.{name}": one for name, one in trained.state_dict().items()}
    save_file(named, tmp_path / "weights.safetensors")
    load_encoder(original, tmp_path / "weights.safetensors")
    for name, one in original.state_dict().items():
        torch.testing.assert_close(one, trained.state_dict()[name])
    other = random_encoder(WHISPER, seed=7)
    before = {name: one.clone() for name, one in other.state_dict().items()}
    named.popitem()
    save_file(named, tmp_path / "part.safetensors")
    load_encoder(other, tmp_path / "part.safetensors")  # half an encoder is none
    for name, one in other.state_dict().items():
        torch.testing.assert_close(one, before[name])
