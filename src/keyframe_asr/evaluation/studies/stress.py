"""`stress`: error and keyframes of several systems as noise, rooms, speed, ... get worse."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from keyframe_asr.audio import Samples
from keyframe_asr.data.dataset import read_samples
from keyframe_asr.data.distortion import Distortion
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.data.model_names import find_model
from keyframe_asr.data.noise import find_recordings
from keyframe_asr.evaluation.studies.definition import StressStudy, SystemConfig
from keyframe_asr.evaluation.studies.recognition import recognise, weights_digest
from keyframe_asr.evaluation.studies.run import Part
from keyframe_asr.inference.loading import load
from keyframe_asr.inference.recognizer import Recognizer

CLEAN = ("clean", 0.0)

Condition = tuple[str, float]
"""Kind of stress and level."""


class StressMeasurement:
    """The parts of a stress study: every system under every condition, the clean one first."""

    def __init__(self, study: StressStudy, device: str | None = None) -> None:
        self.study = study
        self._device = device
        # neighbouring parts are of one condition and of few models, some even of one pass
        self._recordings = functools.lru_cache(maxsize=1)(self._distorted)
        self._passes = functools.lru_cache(maxsize=len(study.systems))(self._recognised)
        self._load = functools.lru_cache(maxsize=len(study.systems))(self._loaded)

    @property
    def conditions(self) -> list[Condition]:
        """Kinds and levels, in the order of the study."""
        return [CLEAN] + [
            (stress.kind, level) for stress in self.study.stresses for level in stress.levels
        ]

    def parts(self, seeds: int) -> list[Part]:
        """One part for each condition and system."""
        del seeds  # nothing is trained
        return [
            Part(
                name=part_name(system.name, condition),
                variant=system.name,
                setting={
                    "manifest": self.study.manifest,
                    "condition": list(condition),
                    "noise": self.study.noise if condition[0] == "noise" else None,
                    "system": system.model_dump(exclude={"name"}),
                    "weights": weights_digest(system.model),
                },
                measure=self._measuring(system, condition),
            )
            for condition in self.conditions
            for system in self.study.systems
        ]

    def _measuring(self, system: SystemConfig, condition: Condition) -> Callable[[], Any]:
        return functools.partial(self._measure, system, condition)

    def _measure(self, system: SystemConfig, condition: Condition) -> dict[str, Any]:
        found = self._passes(system.model, system.blank_threshold, condition)
        return {**found, "decode": {system.decode: found["decode"][system.decode]}}

    def _recognised(
        self, model: str, blank_threshold: float | None, condition: Condition
    ) -> dict[str, Any]:
        """One pass for all systems that differ in their decode mode alone."""
        systems = self.study.systems
        modes = [
            one.decode
            for one in systems
            if (one.model, one.blank_threshold) == (model, blank_threshold)
        ]
        recognizer = self._load(model)
        network = recognizer.network
        trained = network.policy
        if blank_threshold is not None:
            network.policy = replace(trained, blank_threshold=blank_threshold)
        try:
            recordings, references = self._recordings(condition)
            return recognise(recognizer, recordings, references, modes)
        finally:
            network.policy = trained

    def _loaded(self, model: str) -> Recognizer:
        return load(find_model(model), self._device)

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


def part_name(system: str, condition: Condition) -> str:
    """Name of the part of a system under a condition."""
    kind, level = condition
    return f"{system}, {kind}" if condition == CLEAN else f"{system}, {kind} {level:g}"
