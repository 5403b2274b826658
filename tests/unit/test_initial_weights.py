"""Training may start from the weights of another run, even with longer convolutions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from keyframe_asr.config import EncoderConfig, ModelConfig, SubsamplingConfig
from keyframe_asr.errors import TrainingError
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.initial import load_matching

VOCABULARY = 7


def network(kernel: int, dim: int = 16) -> KeyframeNetwork:
    encoder = EncoderConfig(
        layers=2, keyframe_layer=1, dim=dim, heads=2, feed_forward=16, kernel=kernel
    )
    config = ModelConfig(subsampling=SubsamplingConfig(channels=8), encoder=encoder, decoder=None)
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
    save_file(network(5, dim=32).state_dict(), tmp_path / "wide.safetensors")
    missing = load_matching(network(5), tmp_path / "wide.safetensors")
    assert "head.weight" in missing
    assert "normalisation.mean" not in missing


def test_a_file_without_fitting_weights_is_refused(tmp_path: Path) -> None:
    save_file({"other": torch.ones(3)}, tmp_path / "other.safetensors")
    with pytest.raises(TrainingError, match="none of its weights fits"):
        load_matching(network(5), tmp_path / "other.safetensors")
