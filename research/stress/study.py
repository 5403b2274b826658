"""`stress` studies: error rate and keyframes of several systems on degraded speech."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from keyframe_asr.audio.noise import find_recordings
from keyframe_asr.audio.reading import Samples
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.errors import KeyframeError, RecipeError
from keyframe_asr.inference.recognizer import Recognizer, load
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.io.model_folder import find_model
from research.definition import (
    StressDefinition,
    StressName,
    SystemConfig,
    TrainingDefinition,
    VariantConfig,
    load_study,
)
from research.measurement import Measurement
from research.recognition import recognise, weights_digest
from research.stress.distortion import Distortion
from research.training.study import FIRST_SEED, TrainingStudy

Condition = tuple[StressName | Literal["clean"], float]
"""Kind of stress and level."""

CLEAN: Condition = ("clean", 0.0)


@dataclass(frozen=True)
class Source:
    """A model, or a training of a variant."""

    model: str | None
    variant: str | None
    seed: int


class StressStudy:
    """A stress study: every system under every condition, the clean one first.

    Args:
        definition: what to measure.
        runs: folder of the trainings, with a subfolder per study.
        device: device for measuring the models.
    """

    def __init__(self, definition: StressDefinition, runs: Path, device: str | None = None) -> None:
        self.definition = definition
        self._runs, self._device = runs, device
        # neighbouring measurements share a condition, some even a pass
        self._recordings = functools.lru_cache(maxsize=1)(self._distorted)
        self._passes = functools.lru_cache(maxsize=len(definition.systems))(self._recognised)
        self._variant = functools.cache(self._find_variant)
        self._setting = functools.cache(self._training_setting)
        self._loaded: dict[Source, Recognizer | KeyframeError] = {}

    def measurements(self, seeds: int) -> list[Measurement]:
        """Return one measurement per condition and system, and per training of a variant.

        Raises:
            RecipeError: the study or variant of a system does not exist.
        """
        return [
            self._measurement(system, condition, seed)
            for condition in conditions_of(self.definition)
            for seed in range(FIRST_SEED, FIRST_SEED + seeds)
            for system in self.definition.systems
            if system.variant is not None or seed == FIRST_SEED  # a model has one training
        ]

    def _measurement(self, system: SystemConfig, condition: Condition, seed: int) -> Measurement:
        described = system.model_dump(exclude={"name"})
        if system.variant is None:
            del described["variant"]  # older records do not have it
            depends: dict[str, Any] = {"weights": weights_digest(str(system.model))}
        else:
            depends = {"training": self._setting(system.variant, seed)}
        return Measurement(
            name=measurement_name(system, condition, seed),
            variant=system.name,
            setting={
                "manifest": self.definition.manifest,
                "condition": list(condition),
                "noise": self.definition.noise if condition[0] == "noise" else None,
                "system": described,
                **depends,
            },
            measure=functools.partial(self._measure, system, condition, seed),
        )

    def _measure(self, system: SystemConfig, condition: Condition, seed: int) -> dict[str, Any]:
        source = Source(system.model, system.variant, seed)
        found = self._passes(source, system.blank_threshold, condition)
        return {**found, "decode": {system.decode: found["decode"][system.decode]}}

    def _recognised(
        self, source: Source, blank_threshold: float | None, condition: Condition
    ) -> dict[str, Any]:
        """Recognise once for all systems that differ only in their decode mode."""
        modes = [
            one.decode
            for one in self.definition.systems
            if (one.model, one.variant, one.blank_threshold)
            == (source.model, source.variant, blank_threshold)
        ]
        recognizer = self._recognizer(source)
        network = module_of(recognizer.network)
        trained = network.policy
        if blank_threshold is not None:
            network.policy = replace(trained, blank_threshold=blank_threshold)
        try:
            recordings, references = self._recordings(condition)
            return recognise(recognizer, recordings, references, modes)
        finally:
            network.policy = trained

    def _recognizer(self, source: Source) -> Recognizer:
        """Load a model once; a failed training is not repeated under the next condition."""
        if source not in self._loaded:
            try:
                self._loaded[source] = load(self._model(source), self._device, backend="torch")
            except KeyframeError as error:
                self._loaded[source] = error
        found = self._loaded[source]
        if isinstance(found, KeyframeError):
            raise found
        return found

    def _model(self, source: Source) -> Path:
        if source.variant is None:
            return find_model(str(source.model))
        training, variant = self._variant(source.variant)
        return training.train(variant, source.seed)

    def _training_setting(self, variant: str, seed: int) -> dict[str, Any]:
        training, of_study = self._variant(variant)
        return training.setting(of_study, seed)

    def _find_variant(self, named: str) -> tuple[TrainingStudy, VariantConfig]:
        """Return the study and variant of STUDY/VARIANT."""
        name, _, wanted = named.rpartition("/")
        definition = load_study(name)
        if not isinstance(definition, TrainingDefinition):
            raise RecipeError(f"{named}: '{name}' is not a training study; use one that is")
        training = TrainingStudy(definition, self._runs / Path(name).stem, self._device)
        return training, training.variant(wanted)

    def _distorted(self, condition: Condition) -> tuple[list[Samples], list[str]]:
        """Return the recordings under a condition, and their references."""
        cuts = list(load_manifest(self.definition.manifest))
        references = [text(cut) for cut in cuts]
        recordings = [read_samples(cut) for cut in cuts]
        kind, level = condition
        if kind == "clean":
            return recordings, references
        noises = find_recordings(self.definition.noise, "noise") if kind == "noise" else []
        distortion = Distortion(kind, level, noises)
        changed = [distortion(one, cut.id) for one, cut in zip(recordings, cuts, strict=True)]
        return changed, references


def conditions_of(definition: StressDefinition) -> list[Condition]:
    """Return the clean condition, then kinds and levels in the order of the study."""
    return [CLEAN] + [
        (stress.kind, level) for stress in definition.stresses for level in stress.levels
    ]


def measurement_name(system: SystemConfig, condition: Condition, seed: int) -> str:
    """Return the name of the measurement of a system; variants add the seed of the training."""
    kind, level = condition
    name = f"{system.name}, {kind}" if condition == CLEAN else f"{system.name}, {kind} {level:g}"
    return name if system.variant is None else f"{name}, seed {seed}"
