"""The model card of a fine-tuned model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.io.hub import is_hub_name
from keyframe_asr.io.model_card import EvaluationSet, MeasuredError, ModelCard, render_card
from keyframe_asr.io.model_location import CARD_FILE


def write_card(folder: Path, config: ModelFolderConfig, report: Mapping[str, Any]) -> None:
    """Write the card of a fine-tuned model into its folder.

    Args:
        folder: the model folder.
        config: of the model.
        report: of the fine-tuning.

    Raises:
        KeyframeError: it cannot be written.
    """
    write_whole(
        folder / CARD_FILE, render_card(_card(folder, config, report)), "choose another --out"
    )


def _card(folder: Path, config: ModelFolderConfig, report: Mapping[str, Any]) -> ModelCard:
    dev, model = report["dev"], report["model"]
    unit: Literal["cer", "wer"] = "cer" if dev["unit"] == "CER" else "wer"
    corpus = _name(report["train"])
    measured = EvaluationSet(
        corpus, f"the development recordings of {corpus}", f"{dev['recordings']} recordings", "dev"
    )
    minutes = 60 * report["hours"]
    trained = (
        f"`{model}`, fine-tuned by `keyframe fine-tune` on {report['recordings']} recordings of "
        f"{corpus} ({minutes:.0f} minutes)."
    )
    if report["start_is_kept"]:
        trained = f"{trained} No epoch was better on the development recordings: it is `{model}`."
    other = report["also_measured"]
    notes = [
        f"Before fine-tuning: {100 * dev['before']:.1f} % {dev['unit']}, in mode "
        f"{dev['mode_before']}.",
        "The weights and the decoding were chosen on these recordings; errors on others are "
        "higher.",
    ]
    if other is not None:
        notes.append(
            f"On {other['name']} ({other['recordings']} recordings): "
            f"{100 * other['before']:.1f} % {other['unit']} before, "
            f"{100 * other['after']:.1f} % after."
        )
    return ModelCard(
        name=config.name,
        title=config.name,
        language=config.language,
        summary=f"`{model}` for the speech of {corpus}.",
        training=[trained],
        datasets=[corpus],
        base_model=model if is_hub_name(model) else None,
        errors=[
            MeasuredError(mode, unit, row["after"], tuple(row["after_ci95"]), measured)
            for mode, row in dev["decode"].items()
        ],
        error_notes=notes,
        limits=["Speech unlike that of the training recordings; see also the card of its base."],
        sources=[f"`{model}`: see its card. {corpus}: the licence of your recordings."],
        used_as=str(folder),
    )


def _name(source: str) -> str:
    """Name of the recordings: of a table without a suffix, or of a folder."""
    path = Path(source.rpartition(":")[0] or source) if ":" in source else Path(source)
    stem = path.name.partition(".")[0]
    return path.resolve().parent.name if stem in ("manifest", "metadata", "train") else stem
