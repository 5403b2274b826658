"""`stress`: error and keyframes of several systems as noise, rooms, speed, ... get worse."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

from keyframe_asr.audio import Samples
from keyframe_asr.data.dataset import read_samples
from keyframe_asr.data.distortion import Distortion
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.data.model_names import find_model
from keyframe_asr.data.noise import find_recordings
from keyframe_asr.errors import RecipeError
from keyframe_asr.evaluation.studies.definition import (
    StressStudy,
    SystemConfig,
    TrainingStudy,
    VariantConfig,
    load_study,
)
from keyframe_asr.evaluation.studies.recognition import recognise, weights_digest
from keyframe_asr.evaluation.studies.run import Part
from keyframe_asr.evaluation.studies.training import FIRST_SEED, TrainingMeasurement
from keyframe_asr.inference.loading import load
from keyframe_asr.inference.recognizer import Recognizer

CLEAN = ("clean", 0.0)

Condition = tuple[str, float]
"""Kind of stress and level."""


class StressMeasurement:
    """The parts of a stress study: every system under every condition, the clean one first.

    Args:
        study: what to measure.
        runs: where studies train, a folder each.
        device: what the models are measured on.
    """

    def __init__(self, study: StressStudy, runs: Path, device: str | None = None) -> None:
        self.study = study
        self._runs, self._device = runs, device
        # neighbouring parts are of one condition and of few models, some even of one pass
        self._recordings = functools.lru_cache(maxsize=1)(self._distorted)
        self._passes = functools.lru_cache(maxsize=len(study.systems))(self._recognised)
        self._load = functools.lru_cache(maxsize=len(study.systems))(self._loaded)
        self._trained, self._mark = functools.cache(self._find), functools.cache(self._mark_of)

    @property
    def conditions(self) -> list[Condition]:
        """Kinds and levels, in the order of the study."""
        return [CLEAN] + [
            (stress.kind, level) for stress in self.study.stresses for level in stress.levels
        ]

    def parts(self, seeds: int) -> list[Part]:
        """One part for each condition and system, and for each training of a variant.

        Raises:
            RecipeError: a system is of a study or variant that there is not.
        """
        return [
            self._part(system, condition, seed)
            for condition in self.conditions
            for seed in range(FIRST_SEED, FIRST_SEED + seeds)
            for system in self.study.systems
            if system.variant is not None or seed == FIRST_SEED  # a model is what it is
        ]

    def _part(self, system: SystemConfig, condition: Condition, seed: int) -> Part:
        described = system.model_dump(exclude={"name"})
        if system.variant is None:
            del described["variant"]  # there are records from before there were variants
            described_model = {"weights": weights_digest(str(system.model))}
        else:
            described_model = {"training": self._mark(system.variant, seed)}
        return Part(
            name=part_name(system, condition, seed),
            variant=system.name,
            setting={
                "manifest": self.study.manifest,
                "condition": list(condition),
                "noise": self.study.noise if condition[0] == "noise" else None,
                "system": described,
                **described_model,
            },
            measure=functools.partial(self._measure, system, condition, seed),
        )

    def _measure(self, system: SystemConfig, condition: Condition, seed: int) -> dict[str, Any]:
        found = self._passes(system.model, system.variant, seed, system.blank_threshold, condition)
        return {**found, "decode": {system.decode: found["decode"][system.decode]}}

    def _recognised(
        self,
        model: str | None,
        variant: str | None,
        seed: int,
        blank_threshold: float | None,
        condition: Condition,
    ) -> dict[str, Any]:
        """One pass for all systems that differ in their decode mode alone."""
        modes = [
            one.decode
            for one in self.study.systems
            if (one.model, one.variant, one.blank_threshold) == (model, variant, blank_threshold)
        ]
        recognizer = self._load(model, variant, seed)
        network = recognizer.network
        trained = network.policy
        if blank_threshold is not None:
            network.policy = replace(trained, blank_threshold=blank_threshold)
        try:
            recordings, references = self._recordings(condition)
            return recognise(recognizer, recordings, references, modes)
        finally:
            network.policy = trained

    def _loaded(self, model: str | None, variant: str | None, seed: int) -> Recognizer:
        if variant is None:
            return load(find_model(str(model)), self._device)
        training, of_study = self._trained(variant)
        return load(training.train(of_study, seed), self._device)

    def _mark_of(self, variant: str, seed: int) -> str:
        training, of_study = self._trained(variant)
        return training.mark(of_study, seed)

    def _find(self, variant: str) -> tuple[TrainingMeasurement, VariantConfig]:
        """The study and the variant that STUDY/VARIANT names."""
        name, _, wanted = variant.rpartition("/")
        study = load_study(name)
        if not isinstance(study, TrainingStudy):
            raise RecipeError(f"{variant}: '{name}' is a study that trains nothing")
        training = TrainingMeasurement(study, self._runs / Path(name).stem, self._device)
        return training, training.variant(wanted)

    def _distorted(self, condition: Condition) -> tuple[list[Samples], list[str]]:
        """Recordings under a condition, and their references."""
        cuts = list(load_manifest(self.study.manifest))
        references = [text(cut) for cut in cuts]
        recordings = [read_samples(cut) for cut in cuts]
        kind, level = condition
        if condition == CLEAN:
            return recordings, references
        noises = find_recordings(self.study.noise, "noise") if kind == "noise" else []
        distortion = Distortion(kind, level, noises)  # type: ignore[arg-type]
        changed = [distortion(one, cut.id) for one, cut in zip(recordings, cuts, strict=True)]
        return changed, references


def part_name(system: SystemConfig, condition: Condition, seed: int) -> str:
    """Name of the part of a system under a condition; the seed is of a training of a variant."""
    kind, level = condition
    name = f"{system.name}, {kind}" if condition == CLEAN else f"{system.name}, {kind} {level:g}"
    return name if system.variant is None else f"{name}, seed {seed}"
