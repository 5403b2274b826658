"""`FrameFusion` against its twin, in value and in gradient, in double precision."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from keyframe_asr.config.model import FusionConfig
from keyframe_asr.model.fusion import FrameFusion
from keyframe_asr.model.keyframes import Keyframes
from reference.fusion import Array, fuse, numerical_gradient, window_of

DIM = 5
Kind = Literal["attention", "static", "mean", "concat", "none"]
Window = Literal[1, 2, 3, 5]
KINDS: tuple[Kind, ...] = ("attention", "static", "mean", "concat", "none")
WINDOWS: tuple[Window, ...] = (1, 2, 3, 5)
CONFIGS = [
    FusionConfig(kind=kind, window=window, left_only=left_only)
    for kind, window, left_only in itertools.product(KINDS, WINDOWS, (False, True))
]


def random_module(config: FusionConfig, seed: int) -> FrameFusion:
    torch.manual_seed(seed)
    module = FrameFusion(DIM, config).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def random_case(
    rng: np.random.Generator, batch: int, frames: int
) -> tuple[Tensor, Tensor, Keyframes]:
    """Frames (padding NaN, which must not show), lengths, keyframes of a ragged batch."""
    lengths = rng.integers(0, frames + 1, size=batch)
    lengths[0] = frames
    values = rng.normal(size=(batch, frames, DIM))
    chosen: list[list[int]] = [
        np.sort(rng.permutation(length)[: rng.integers(1, length + 1)]).tolist() if length else []
        for length in lengths
    ]
    index = np.zeros((batch, max(map(len, chosen))), dtype=np.int64)
    for place, (length, row) in enumerate(zip(lengths, chosen, strict=True)):
        values[place, length:] = np.nan
        index[place, : len(row)] = row
    counts = torch.tensor([len(row) for row in chosen])
    return (
        torch.from_numpy(values),
        torch.from_numpy(lengths),
        Keyframes(torch.from_numpy(index), counts),
    )


def split(
    frames: Tensor, lengths: Tensor, keyframes: Keyframes
) -> tuple[list[Array], list[list[int]]]:
    utterances = [row[:length].numpy().copy() for row, length in zip(frames, lengths, strict=True)]
    chosen = [
        row[:count].tolist() for row, count in zip(keyframes.index, keyframes.lengths, strict=True)
    ]
    return utterances, chosen


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_value_equals_the_twin(config: FusionConfig) -> None:
    rng = np.random.default_rng(CONFIGS.index(config))
    for seed in range(8):
        module = random_module(config, seed)
        parameters = {name: value.detach().numpy() for name, value in module.named_parameters()}
        frames, lengths, keyframes = random_case(rng, batch=4, frames=int(rng.integers(1, 9)))
        fused = module(frames, lengths, keyframes).detach().numpy()
        offsets = window_of(config.window, config.left_only)
        utterances, chosen = split(frames, lengths, keyframes)
        expected = fuse(config.kind, offsets, utterances, chosen, parameters)
        for row, vectors in zip(fused, expected, strict=True):
            assert np.all(row[len(vectors) :] == 0)
            for vector, want in zip(row, vectors, strict=False):
                np.testing.assert_allclose(vector, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_gradient_equals_the_twin(config: FusionConfig) -> None:
    rng = np.random.default_rng(CONFIGS.index(config))
    module = random_module(config, 1)
    frames, lengths, keyframes = random_case(rng, batch=2, frames=5)
    utterances, chosen = split(frames, lengths, keyframes)
    cotangent = rng.normal(size=(2, keyframes.index.shape[1], DIM))
    leaf = frames.clone().requires_grad_()
    module(leaf, lengths, keyframes).mul(torch.from_numpy(cotangent)).sum().backward()

    parameters = {name: value.detach().numpy().copy() for name, value in module.named_parameters()}
    offsets = window_of(config.window, config.left_only)

    def objective() -> float:
        fused = fuse(config.kind, offsets, utterances, chosen, parameters)
        return float(
            sum(
                cotangent[b, k] @ vector
                for b, vectors in enumerate(fused)
                for k, vector in enumerate(vectors)
            )
        )

    assert leaf.grad is not None
    for place, utterance in enumerate(utterances):
        expected = numerical_gradient(objective, utterance)
        np.testing.assert_allclose(leaf.grad[place, : len(utterance)], expected, atol=1e-7)
        assert bool((leaf.grad[place, len(utterance) :] == 0).all())
    for name, parameter in module.named_parameters():
        expected = numerical_gradient(objective, parameters[name])
        assert parameter.grad is not None
        np.testing.assert_allclose(parameter.grad, expected, atol=1e-7, err_msg=name)
