"""`training` studies: variants of a recipe, trained from the same weights and measured.

Each variant is a recipe: some stages of the study's recipe with a few keys changed. All variants
use the normal training loop, so they can be resumed and their model folders used. A variant whose
training collapses is still trained to the end and measured.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from keyframe_asr.config.recipe import DecoderTrainingConfig, Recipe, read_recipe
from keyframe_asr.config.strict import apply_override, parse_config
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.errors import RecipeError
from keyframe_asr.inference.recognizer import load
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.training.run import train
from research.definition import TrainingDefinition, TrainingsDefinition, VariantConfig
from research.measurement import Measurement
from research.recognition import recognise, weights_digest

FIRST_SEED = 1
AVERAGED = "averaged.safetensors"

Start = tuple[str | Path | None, Sequence[str]]
"""Model or weights to start from, and the parts of the network to re-initialise."""


class Trainings:
    """The trainings of a study's variants.

    Args:
        definition: what to train.
        folder: folder of the runs.
    """

    def __init__(self, definition: TrainingsDefinition, folder: Path) -> None:
        self.definition, self.folder = definition, folder
        self._digest = functools.cache(weights_digest)  # large weights, many variants

    def recipe(self, variant: VariantConfig, seed: int) -> Recipe:
        """Return the recipe of a variant.

        Raises:
            RecipeError: a stage does not exist, or a value is not valid.
        """
        sets = [*self.definition.set, *variant.set, f"seed={seed}", f"name={variant.name}"]
        return self._recipe(
            variant.stages, self.definition.epochs | variant.epochs, sets, variant.name
        )

    def variant(self, name: str) -> VariantConfig:
        """Return the variant of this name. Raises `RecipeError` if there is none."""
        for variant in self.definition.variants:
            if variant.name == name:
                return variant
        known = ", ".join(variant.name for variant in self.definition.variants)
        raise RecipeError(f"'{name}': unknown variant; use one of {known}")

    def setting(self, variant: VariantConfig, seed: int) -> dict[str, Any]:
        """Return everything that a training depends on, as JSON values.

        Raises:
            RecipeError: as in `recipe`.
        """
        recipe = self.recipe(variant, seed)
        pretrained = recipe.model.pretrained
        decoder = recipe.model.pretrained_decoder
        return {
            "recipe": _described(recipe),
            "encoder": pretrained and self._digest(pretrained.source),
            "start": None if variant.from_nothing else self._start_setting,
            "split": self.definition.split,
            **({} if decoder is None else {"decoder": self._digest(decoder.source)}),
        }

    def train(self, variant: VariantConfig, seed: int) -> Path:
        """Return the model folder of a variant; train it, and its start, if they are missing.

        Raises:
            KeyframeError: as in `training.run.train`.
        """
        begin = _nothing if variant.from_nothing else self._start
        return self._train(self.recipe(variant, seed), self.setting(variant, seed), begin)

    def start_recipe(self) -> Recipe | None:
        """Return the recipe that trains the start of all variants, or None."""
        start = self.definition.start
        if start is None or start.stage is None:
            return None
        names = [stage["name"] for stage in self._data["stages"]]
        if start.stage not in names:
            raise RecipeError(
                f"{self.definition.recipe}: has no stage '{start.stage}' to start from; "
                f"use one of {', '.join(names)}"
            )
        before = [] if start.initial is not None else names[: names.index(start.stage)]
        stages = [*before, start.stage]
        sets = [*self.definition.set, f"seed={FIRST_SEED}", "name=start"]
        return self._recipe(stages, self.definition.epochs, sets, "start")

    def _start(self) -> Start:
        """Return what variants start from, trained if missing, and the parts to re-initialise."""
        start = self.definition.start
        if start is None:
            return _nothing()
        recipe = self.start_recipe()
        if recipe is None:
            return start.initial, start.reinitialise
        model = self._train(
            recipe, self._start_setting, lambda: (start.initial, start.reinitialise)
        )
        return model.parent / AVERAGED, ()

    @functools.cached_property
    def _start_setting(self) -> Any:
        start = self.definition.start
        if start is None:
            return None
        recipe = self.start_recipe()
        return start.model_dump(include={"initial", "reinitialise"}) | {
            "weights": start.initial and self._digest(start.initial),
            "recipe": recipe and _described(recipe),
        }

    def _train(self, recipe: Recipe, setting: Any, begin: Callable[[], Start]) -> Path:
        """Return the model folder of a run's last stage; a finished run is not repeated."""
        described = json.dumps(setting, sort_keys=True).encode()
        # other settings get another folder, so that no run resumes from the weights of another
        mark = hashlib.blake2b(described, digest_size=4).hexdigest()
        folder = self.folder / f"{recipe.name}-seed{recipe.seed}-{mark}"
        model = folder / recipe.stages[-1].name / "model"
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):  # another process may train the same run
            if model.is_dir():
                return model
            initial, reinitialise = begin()
            done = train(recipe, folder, resume=True, initial=initial, reinitialise=reinitialise)
            return done.model

    def _recipe(
        self, stages: list[str], epochs: dict[str, int], sets: list[str], name: str
    ) -> Recipe:
        data = copy.deepcopy(self._data)
        by_name = {stage["name"]: stage for stage in data["stages"]}
        missing = [stage for stage in (*stages, *epochs) if stage not in by_name]
        if missing:
            raise RecipeError(
                f"{self.definition.recipe}: has no stage '{missing[0]}', which '{name}' needs; "
                f"use one of {', '.join(by_name)}"
            )
        # copied, because stages may share a mapping through a YAML anchor
        chosen = [copy.deepcopy(by_name[stage]) for stage in stages]
        for stage in chosen:
            stage["collapse"] = None
            stage["epochs"] = epochs.get(stage["name"], stage["epochs"])
            if stage.get("start_from") not in stages:
                stage.pop("start_from", None)
            for override in self.definition.stage_set:
                apply_override(stage, override)
        data["stages"] = chosen
        for override in sets:
            apply_override(data, override)
        model, training = data.get("model") or {}, data.setdefault("training", {})
        if model.get("pretrained") and training.get("encodings") is None:
            training["encodings"] = str(self.folder.parent / "encodings")  # shared by all studies
        recipe = parse_config(Recipe, data, f"{self.definition.recipe}, {name}")
        if self.definition.split == "test" and recipe.data.test is None:
            raise RecipeError(
                f"{self.definition.recipe}: has no data.test; add it, or set split: dev"
            )
        return recipe

    @functools.cached_property
    def _data(self) -> dict[str, Any]:
        data = read_recipe(self.definition.recipe)
        if not isinstance(data, dict) or not isinstance(data.get("stages"), list):
            raise RecipeError(f"{self.definition.recipe}: not a recipe: it has no list of stages")
        return data


class TrainingStudy(Trainings):
    """A training study: one measurement per variant and seed.

    Args:
        definition: what to train and measure.
        folder: folder of the runs.
        device: device for measuring the models; training chooses its device itself.
    """

    definition: TrainingDefinition

    def __init__(
        self, definition: TrainingDefinition, folder: Path, device: str | None = None
    ) -> None:
        super().__init__(definition, folder)
        self._device = device

    def measurements(self, seeds: int) -> list[Measurement]:
        """Return all variants with the first seed, then with the second, and so on."""
        return [
            self._measurement(variant, FIRST_SEED + number)
            for number in range(seeds)
            for variant in self.definition.variants
        ]

    def setting(self, variant: VariantConfig, seed: int) -> dict[str, Any]:
        """Return everything that a training depends on, and how it is measured.

        Raises:
            RecipeError: as in `recipe`.
        """
        measured = self.definition.model_dump(include={"modes", "beam"}, exclude_defaults=True)
        return super().setting(variant, seed) | measured

    def _measurement(self, variant: VariantConfig, seed: int) -> Measurement:
        recipe = self.recipe(variant, seed)
        return Measurement(
            name=measurement_name(variant.name, seed),
            variant=variant.name,
            setting=self.setting(variant, seed),
            measure=functools.partial(self._measure, variant, seed),
            work=float(sum(stage.epochs for stage in recipe.stages)),
        )

    def _measure(self, variant: VariantConfig, seed: int) -> dict[str, Any]:
        recipe = self.recipe(variant, seed)
        recognizer = load(self.train(variant, seed), self._device, backend="torch")
        manifest = recipe.data.dev if self.definition.split == "dev" else recipe.data.test
        cuts = list(load_manifest(str(manifest)))
        recordings, references = [read_samples(cut) for cut in cuts], [text(cut) for cut in cuts]
        wanted = self.definition.modes or recognizer.modes
        modes = [mode for mode in recognizer.modes if mode in wanted]
        beam = self.definition.beam
        found = recognise(recognizer, recordings, references, modes, beam=beam)
        network = module_of(recognizer.network)
        frame_seconds = recognizer.network.frame_seconds
        ahead = max(network.fusion.offsets) if network.fusion_enabled else 0
        return found | {
            "keeps_all": not network.keyframes_enabled,
            "vocabulary": recognizer.config.vocab_size,
            "epochs": sum(stage.epochs for stage in recipe.stages),
            "latency_seconds": ahead * frame_seconds,
        }


LATER_KEYS: dict[str, dict[str, Any]] = {
    "features": {"level": None},
    "augment": {"telephone": None},
    "data": {"statistics": "train", "soft_targets": []},
    "tokenizer": {"of_model": None},
}
"""Keys of a recipe that older records do not have, with the value that changes nothing."""

LATER_TRAINING_KEYS: dict[str, Any] = {
    "compile": False,
    "save_every_updates": None,
    "sharding": "none",
}

LATER_ENCODER_KEYS: dict[str, Any] = {"keyframe_layer": None, "keyframe_window": 4}

LATER_STAGE_KEYS: dict[str, Any] = {
    "reinitialise": [],
    "start_counts": False,
    "patience": None,
    "pretrained_decoder": DecoderTrainingConfig().model_dump(),
}

LATER_LOSS_KEYS: dict[str, Any] = {"distillation": 0.5, "teacher": 0.0}


def _described(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe without the folder of encodings and the band, which change no result.

    Keys that older records do not have are left out, too, where their value changes nothing.
    """
    described = recipe.model_dump(mode="json")
    del described["training"]["encodings"]
    described["training"] = _as_before(described["training"])
    del described["features"]["band"]
    for section, neutral in LATER_KEYS.items():
        described[section] = _without(described[section], neutral)
    described = _without(described, {"teacher": None})
    described["model"]["encoder"] = _without(described["model"]["encoder"], {"streaming": None})
    if described["model"]["decoder"] is not None:
        described["model"]["decoder"] = _without(
            described["model"]["decoder"], {"kind": "transformer"}
        )
    if described["model"]["pretrained"] is not None:
        described["model"]["pretrained"] = _without(
            described["model"]["pretrained"], LATER_ENCODER_KEYS
        )
    described["stages"] = [
        _without(stage | {"losses": _without(stage["losses"], LATER_LOSS_KEYS)}, LATER_STAGE_KEYS)
        for stage in described["stages"]
    ]
    return described


def _as_before(training: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of training as older records have them; on a CPU they change nothing."""
    same: dict[str, dict[Any, Any]] = {"precision": {"auto": "float32"}, "workers": {None: 0}}
    renamed = {key: same.get(key, {}).get(value, value) for key, value in training.items()}
    return _without(renamed, LATER_TRAINING_KEYS)


def _without(settings: dict[str, Any], neutral: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without those keys whose value is the neutral one."""
    return {
        key: value for key, value in settings.items() if key not in neutral or value != neutral[key]
    }


def _nothing() -> Start:
    """Start from random weights."""
    return None, ()


def measurement_name(variant: str, seed: int) -> str:
    """Return the name of the measurement of a variant and seed."""
    return f"{variant}, seed {seed}"


def highest_seed(names: Iterable[str]) -> int:
    """Return the highest seed among the names of measurements."""
    found = (re.fullmatch(r".*, seed (\d+)", name) for name in names)
    return max((int(one[1]) for one in found if one), default=FIRST_SEED)
