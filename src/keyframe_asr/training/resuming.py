"""What a resumed run may change, and what it cannot take up.

Changes apply from the next epoch on. Finished stages stay as they were trained, and so does their
record, except that the last one can be trained on if nothing was built on it and its learning rate
does not depend on the number of epochs: then more epochs give the weights that training them at
once would have given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyframe_asr.config.recipe import Recipe, StageConfig, load_recipe, with_absolute_paths
from keyframe_asr.config.strict import read_yaml
from keyframe_asr.errors import TrainingError
from keyframe_asr.training.checkpoint import Progress
from keyframe_asr.training.run_recipe import RECIPE_FILE

FIXED = ("language", "text_form", "tokenizer", "features", "model")
"""Keys of a recipe without which the weights of a run are meaningless."""

FIXED_OF_STAGES = ("name", "start_from", "reinitialise")

_LISTED = 5


@dataclass(frozen=True)
class Change:
    """A key of a recipe that differs from the run so far, and both values; None if absent."""

    key: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.now)}"


@dataclass(frozen=True)
class Resumed:
    """A recipe for going on with a run.

    Attributes:
        recipe: recipe to train and to record.
        trains_on: True if the last finished stage gets more epochs.
        changes: what differs from the run so far, from now on.
        without_effect: what differs, but belongs to what is finished.
    """

    recipe: Recipe
    trains_on: bool = False
    changes: tuple[Change, ...] = ()
    without_effect: tuple[Change, ...] = ()


def resume_recipe(recipe: Recipe, folder: Path, progress: Progress) -> Resumed:
    """Decide how a run goes on with a recipe.

    Args:
        recipe: complete recipe, with the architecture of a pretrained encoder.
        folder: folder of the run.
        progress: what the run has finished.

    Raises:
        TrainingError: the weights of the run do not belong to the recipe, or a finished stage
            should get more epochs and cannot be trained on.
    """
    if not (folder / RECIPE_FILE).exists():  # of version 0.1, which stored none
        return Resumed(recipe)
    before, now = _comparable(_stored(folder / RECIPE_FILE)), _comparable(recipe)
    changes = tuple(differences(before.model_dump(mode="json"), now.model_dump(mode="json")))
    _check_fixed(changes, folder, len(before.stages))
    trains_on = _trains_on(before, now, progress)
    finished = progress.finished - trains_on
    if finished >= len(now.stages):
        return Resumed(before, without_effect=changes)
    stages = [*before.stages[:finished], *recipe.stages[finished:]]
    over = tuple(f"stages.{number}." for number in range(finished))
    return Resumed(
        recipe.model_copy(update={"stages": stages}),
        trains_on,
        tuple(one for one in changes if not one.key.startswith(over)),
        tuple(one for one in changes if one.key.startswith(over)),
    )


def _stored(path: Path) -> Recipe:
    """Read the recipe of a run; without `features.level`, it took recordings as they are."""
    recipe, stored = load_recipe(path), read_yaml(path)
    if "level" in (stored.get("features") or {}):
        return recipe
    return load_recipe(path, ["features.level=null"])


def differences(before: Any, now: Any, key: str = "") -> Iterator[Change]:
    """Yield the keys in which two parsed recipes differ, written as for `--set`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*before, *now]):
            inner = f"{key}.{name}" if key else str(name)
            yield from differences(before.get(name), now.get(name), inner)
    elif _is_of_mappings(before) and _is_of_mappings(now):
        for number in range(max(len(before), len(now))):
            then, later = (one[number] if number < len(one) else None for one in (before, now))
            yield from differences(then, later, f"{key}.{number}")
    elif before != now:
        yield Change(key, before, now)


def _trains_on(before: Recipe, now: Recipe, progress: Progress) -> bool:
    """True if the last finished stage gets more epochs; raises if a stage cannot get them."""
    trains_on = False
    for number in range(min(progress.finished, len(before.stages))):
        then, wanted = before.stages[number], now.stages[number]
        if wanted.epochs <= then.epochs:
            continue
        if problem := _obstacle(number, before, progress):
            raise TrainingError(
                f"stage '{then.name}' is finished, so stages.{number}.epochs: {then.epochs} -> "
                f"{wanted.epochs} cannot be trained: {problem}; add a stage that starts from it, "
                "or choose another --out"
            )
        trains_on = True
    return trains_on


def _obstacle(number: int, before: Recipe, progress: Progress) -> str | None:
    """Why a finished stage cannot be trained on; None if it can."""
    stage = before.stages[number]
    if number < progress.finished - 1:
        return f"stage '{before.stages[number + 1].name}' was built on its weights"
    if progress.last is not None:
        return None
    if not continues(stage):
        return f"its learning rate followed a {stage.decay} that ended with the last epoch"
    if stage.ends_when is not None:
        return "its inter-CTC was ready, or its last epoch is no longer stored"
    return "its last epoch is no longer stored, as a later stage has begun"


def continues(stage: StageConfig) -> bool:
    """True if the learning rate of a stage does not depend on its number of epochs."""
    return stage.decay != "cosine"


def _check_fixed(changes: tuple[Change, ...], folder: Path, stages: int) -> None:
    """Raise `TrainingError` for changes that the weights of the run do not allow."""
    fixed = [f"stages.{number}.{name}" for number in range(stages) for name in FIXED_OF_STAGES]
    forbidden = [
        one
        for one in changes
        if one.key.split(".")[0] in FIXED
        or one.key in fixed
        or (one.now is None and one.key in {f"stages.{number}" for number in range(stages)})
    ]
    if forbidden:
        some = "; ".join(str(one) for one in forbidden[:_LISTED])
        more = "; ..." if len(forbidden) > _LISTED else ""
        raise TrainingError(
            f"{folder}: trained with another recipe ({some}{more}); resume with "
            f"{folder / RECIPE_FILE}, or choose another --out"
        )


def _comparable(recipe: Recipe) -> Recipe:
    # recipes stored by version 0.1 name no form of text
    return with_absolute_paths(recipe.model_copy(update={"text_form": recipe.form}))


def _is_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, Mapping) for one in value)


def _shown(value: Any) -> str:
    """A value in one line; of a stage, its name."""
    if isinstance(value, Mapping) and "name" in value:
        return str(value["name"])
    return "none" if value is None else str(value)
