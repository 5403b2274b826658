"""A tiny model with random weights that hears text in noise: for tests of what is around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from keyframe_asr.config.recipe import (
    DecoderConfig,
    EncoderConfig,
    FeaturesConfig,
    ModelConfig,
    ModelFolderConfig,
    SubsamplingConfig,
)
from keyframe_asr.io.model_folder import StoredModel, save_model_folder
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import END, CharacterTokenizer

RATE = 16_000


def random_model(keyframes: bool = True) -> StoredModel:
    """The same weights at every call; float16 would round them."""
    torch.manual_seed(11)
    config = ModelConfig(
        subsampling=SubsamplingConfig(channels=8),
        encoder=EncoderConfig(layers=2, keyframe_layer=1, dim=16, heads=2, feed_forward=32),
        decoder=DecoderConfig(layers=1, heads=2, feed_forward=32),
    )
    tokenizer = CharacterTokenizer("ABCDEF")
    network = KeyframeNetwork(config, 16, tokenizer.vocab_size)
    network.keyframes_enabled = network.fusion_enabled = keyframes
    for layer in (network.inter_ctc, network.head):
        layer.weight.data.mul_(4.0)
    assert network.decoder is not None
    network.decoder.output.bias.data[END] = -3.0  # else untrained beams end at once
    network.normalisation.mean.fill_(8.0)
    network.normalisation.inverse_std.fill_(0.3)
    folder = ModelFolderConfig(
        name="random",
        language="english",
        vocab_size=tokenizer.vocab_size,
        keyframes=keyframes,
        fusion=keyframes,
        features=FeaturesConfig(num_mel_bins=16),
        model=config,
    )
    return StoredModel(network.eval(), tokenizer, folder)


def save_random_model(folder: Path, keyframes: bool = True) -> Path:
    """Write `random_model` as a model folder."""
    model = random_model(keyframes)
    save_model_folder(folder, model.network, model.tokenizer, model.config, "# random\n")
    return folder


def noise(seconds: float, seed: int = 1, rate: int = RATE) -> npt.NDArray[np.float32]:
    """Noise (S,) whose loudness changes, in which the model hears text."""
    samples = 0.1 * np.random.default_rng(seed).normal(size=round(seconds * rate))
    return (samples * np.abs(np.sin(np.arange(samples.size) / 2000))).clip(-1, 1).astype("f4")
