"""`latency` studies: error and latency of trained variants that stream, by the size of chunks."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.io.model_folder import load_model_folder
from keyframe_asr.timing import encoder_frame_seconds
from research.definition import LatencyDefinition, VariantConfig
from research.latency.streams import in_chunks, speech_of, whole
from research.measurement import Measurement
from research.training.study import FIRST_SEED, Trainings, measurement_name


class LatencyStudy:
    """A study of latency: one measurement per variant and seed, on the CPU.

    Args:
        definition: what to train and measure.
        folder: folder of the runs.
    """

    def __init__(self, definition: LatencyDefinition, folder: Path) -> None:
        self.definition, self._trainings = definition, Trainings(definition, folder)

    def measurements(self, seeds: int) -> list[Measurement]:
        """Return all variants with the first seed, then with the second, and so on."""
        return [
            Measurement(
                name=measurement_name(variant.name, seed),
                variant=variant.name,
                setting=self._trainings.setting(variant, seed) | {"sizes": self.definition.sizes},
                measure=functools.partial(self._measure, variant, seed),
            )
            for seed in range(FIRST_SEED, FIRST_SEED + seeds)
            for variant in self.definition.variants
        ]

    def _measure(self, variant: VariantConfig, seed: int) -> dict[str, Any]:
        recipe = self._trainings.recipe(variant, seed)
        model = load_model_folder(self._trainings.train(variant, seed))
        manifest = recipe.data.dev if self.definition.split == "dev" else recipe.data.test
        speech = speech_of(model, list(load_manifest(str(manifest))))
        frame = encoder_frame_seconds(recipe.model.subsampling.factor)
        sizes = {
            f"{chunk}+{ahead}": in_chunks(model, speech, chunk, ahead)
            for chunk, ahead in self.definition.sizes
        }
        return {
            "unit": model.config.text_form.unit,
            "frame_ms": round(1000 * frame),
            "keeps_all": not model.network.keyframes_enabled,
            "lengths": [len(one.words) for one in speech],
            "whole": whole(model, speech),
            "sizes": sizes,
        }
