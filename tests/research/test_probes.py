"""Probes find what can be read out linearly, and nothing where there is nothing."""

from __future__ import annotations

import math

import pytest
import torch

from research.dropped.probes import classify, explained

CLASSES = 4


def vectors(count: int, seed: int, separable: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    noise = torch.randn(count, 6, generator=generator)
    centres = 8.0 * torch.eye(CLASSES, 6)
    return (centres[labels] + noise if separable else noise), labels


def test_what_is_there_is_found() -> None:
    found = classify(vectors(400, 1, True), vectors(300, 2, True), CLASSES)
    assert found.correct.float().mean() > 0.98
    assert found.entropy == pytest.approx(math.log2(CLASSES), abs=0.05)
    assert found.bits == pytest.approx(found.entropy, abs=0.15)


def test_nothing_is_found_in_noise() -> None:
    found = classify(vectors(400, 1, False), vectors(300, 2, False), CLASSES)
    assert found.correct.float().mean() < 0.4
    assert found.bits < 0.05


def test_sound_is_explained_as_far_as_it_is_linear() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(500, 5, generator=generator)
    linear = torch.stack((inputs[:, :2], torch.randn(500, 2, generator=generator)), dim=1) + 3
    pairs = (inputs[:300], linear[:300]), (inputs[300:], linear[300:])
    follows, random = explained(*pairs).tolist()
    assert follows > 0.99
    assert random < 0.05
