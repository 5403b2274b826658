"""The recipe of a fine-tuning: the model's own settings, and the plan for the hours of data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keyframe_asr.config.fine_tuning import FineTuningPlan
from keyframe_asr.config.model import ModelFolderConfig, PretrainedConfig
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.fine_tuning.options import FineTuneOptions

STAGE = "fine-tuning"
"""Name of the stage, and of its folder while it lasts."""

HEADS = "new-units"
"""Name of the stage before it that a new vocabulary needs."""


@dataclass(frozen=True)
class Manifests:
    """Files of a fine-tuning: training and development set, and other speech, if any."""

    train: Path
    dev: Path
    replay: Path | None = None


def fine_tuning_recipe(
    config: ModelFolderConfig,
    start: Path,
    manifests: Manifests,
    plan: FineTuningPlan,
    options: FineTuneOptions,
) -> Recipe:
    """Return the recipe.

    Args:
        config: of the model that training starts from.
        start: its folder.
        manifests: of the data.
        plan: from the hours of data.
        options: what the user chose instead.

    Raises:
        RecipeError: an override names no key of a recipe, or has a wrong value.
    """
    model = config.model.model_dump(mode="json")
    if model["pretrained"] is not None:
        model["pretrained"]["source"] = str(start)
    if config.model.pretrained_decoder is not None:
        model["decoder"]["source"] = str(start)
    more = [] if manifests.replay is None else [str(manifests.replay)]
    data = {
        "name": config.name,
        "language": config.language,
        "text_form": config.text_form.model_dump(),
        "data": {
            "train": str(manifests.train),
            "more_train": more,
            "dev": str(manifests.dev),
            "statistics": "initial",
        },
        "tokenizer": {"of_model": str(start)},
        "features": config.features.model_dump(),
        "model": model,
        "augment": plan.augment.model_dump(mode="json"),
        "training": {
            "batch_seconds": plan.batch_seconds,
            "accumulate": plan.accumulate,
            "keep_features_in_memory": True,
        },
        "stages": _stages(config, plan, options),
    }
    return parse_config(Recipe, data, "fine-tuning", options.overrides or ())


def _stages(
    config: ModelFolderConfig, plan: FineTuningPlan, options: FineTuneOptions
) -> list[dict[str, Any]]:
    losses = plan.losses.model_dump()
    if config.model.decoder is None or config.model.pretrained_decoder is not None:
        losses["decoder"] = 0.0  # training a pretrained one doubles time and size
    all_frames = losses | {"head_loss": "ctc"}
    stage: dict[str, Any] = {
        "name": STAGE,
        "epochs": options.epochs or plan.epochs,
        "keyframes": config.keyframes,
        "fusion": config.fusion,
        "losses": losses if config.keyframes else all_frames,
        "learning_rate": options.learning_rate or plan.learning_rate,
        "warmup_steps": plan.warmup_steps,
        "decay": "cosine",
        "final_learning_rate": plan.final_learning_rate,
        "average_best": plan.average_best,
        "start_counts": True,
        "patience": plan.patience,
        "collapse": None,
    }
    if config.model.pretrained is not None:
        stage["unfreeze_from_layer"] = _first_trained(config.model.pretrained, plan, options)
        stage["pretrained_learning_rate"] = plan.pretrained_learning_rate
    if options.vocabulary != "new" or not config.keyframes:
        return [stage]
    heads = stage | {"name": HEADS, "keyframes": False, "losses": all_frames}
    return [heads | {"start_counts": False, "patience": None}, stage]


def _first_trained(
    pretrained: PretrainedConfig, plan: FineTuningPlan, options: FineTuneOptions
) -> int | None:
    """First layer of the pretrained encoder that is trained; None if it is frozen."""
    if options.unfreeze_from_layer is not None:
        return options.unfreeze_from_layer
    if plan.trained_layers == 0:
        return None
    used = pretrained.size[0] or 1
    if pretrained.layers and pretrained.keyframe_layer is None:
        used = max(pretrained.layers)
    return max(0, used + 1 - plan.trained_layers)
