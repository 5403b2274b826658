"""`cost` studies: time of a training step by component, and of the encoders by length.

Times are measured with random weights at the size of a recipe, and compared with multiply-adds. On
a CPU, processor time is measured instead of wall-clock time, so other work on the machine has
little effect.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from keyframe_asr.config.recipe import Recipe, load_recipe
from keyframe_asr.errors import RecipeError
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.timing import FRAMES_PER_SECOND
from research.cost.training_step import (
    SteppedNetwork,
    random_batch,
    random_network,
    seconds_on,
)
from research.definition import CostDefinition
from research.measurement import Measurement
from research.multiply_adds import MultiplyAddsCounter

STEP, LENGTH = "training step", "length of the utterance"
STAGES = {"all frames": "ctc", "keyframes + AXE": "axe", "keyframes + TIL": "til"}


class CostStudy:
    """A cost study: two measurements on the CPU, and two on a GPU if there is one."""

    def __init__(self, definition: CostDefinition, device: str | None = None) -> None:
        self.definition = definition
        found = "cuda" if torch.cuda.is_available() else "cpu"
        self.devices = [device] if device else list(dict.fromkeys(("cpu", found)))

    def measurements(self, seeds: int) -> list[Measurement]:
        """Return both measurements for each device."""
        del seeds  # nothing is trained
        recipe = load_recipe(self.definition.recipe)
        if recipe.model.pretrained is not None or recipe.model.decoder is None:
            raise RecipeError(
                f"{self.definition.recipe}: cost studies need a model with a decoder and without "
                "a pretrained encoder; use another recipe"
            )
        setting = self.definition.model_dump(exclude={"title", "question", "recipe", "kind"})
        setting["model"] = recipe.model.model_dump(mode="json")
        return [
            Measurement(
                name=f"{kind}, {device}",
                variant=kind,
                setting={**setting, "device": device},
                measure=self._measuring(kind, recipe, device),
            )
            for device in self.devices
            for kind in (STEP, LENGTH)
        ]

    def _measuring(self, kind: str, recipe: Recipe, device: str) -> Callable[[], dict[str, Any]]:
        work = self._steps if kind == STEP else self._lengths
        return functools.partial(work, recipe, device)

    def _steps(self, recipe: Recipe, device: str) -> dict[str, Any]:
        """Return seconds of each component of each step, by stage; the first step warms up."""
        definition, bins = self.definition, recipe.features.num_mel_bins
        generator = np.random.default_rng(0)
        drawn = (
            definition.batch_seconds,
            bins,
            definition.vocabulary,
            definition.tokens_per_second,
        )
        batches = [random_batch(*drawn, generator) for _ in range(definition.steps + 1)]
        seconds: dict[str, list[dict[str, float]]] = {}
        with _threads(definition.threads):
            for name, loss in STAGES.items():
                network = SteppedNetwork(recipe.model, bins, definition.vocabulary, loss, device)
                seconds[name] = [network.step(batch.to(device)) for batch in batches][1:]
        return {"device": device_name(device), "load": _load(), "stages": seconds}

    @torch.inference_mode()
    def _lengths(self, recipe: Recipe, device: str) -> dict[str, Any]:
        """Return seconds and multiply-adds of the encoders on one utterance of each length."""
        seconds = self.definition.seconds
        torch.manual_seed(0)
        network = random_network(
            recipe.model, recipe.features.num_mel_bins, self.definition.vocabulary
        )
        network, counter = network.to(device).eval(), MultiplyAddsCounter(network)
        with _threads(self.definition.threads):
            self._length(network, counter, min(seconds), device)  # warm-up
            rows = [self._length(network, counter, one, device) for one in seconds]
        return {"device": device_name(device), "load": _load(), "rows": rows}

    def _length(
        self, network: KeyframeNetwork, counter: MultiplyAddsCounter, seconds: float, device: str
    ) -> dict[str, Any]:
        """Times of the rounds on one utterance, both systems in turn."""
        frames = round(seconds * FRAMES_PER_SECOND)
        tokens = max(1, round(seconds * self.definition.tokens_per_second))
        bins = network.normalisation.mean.numel()
        features = torch.randn(1, frames, bins, device=device)
        sizes = [torch.tensor([size], device=device) for size in (frames, tokens)]
        products = {
            "all frames": counter.count(frames, None, fused=False),
            "keyframes": counter.count(frames, tokens, fused=True),
        }
        times: dict[str, list[float]] = {name: [] for name in products}
        for _ in range(self.definition.rounds):
            for name in products:
                network.keyframes_enabled = network.fusion_enabled = name == "keyframes"
                began = seconds_on(device)
                network.encode(features, *sizes)
                times[name].append(seconds_on(device) - began)
        row: dict[str, Any] = {"seconds": seconds}
        for name, found in products.items():
            counted = asdict(found) | {"total": found.total}
            row[name] = {"times": times[name], "multiply_adds": counted}
        return row


def device_name(device: str) -> str:
    """Return the name of the device."""
    return "cpu" if device == "cpu" else torch.cuda.get_device_name(device)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _load() -> float | None:
    """Return the load average of the last minute, or None where the system has none."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
