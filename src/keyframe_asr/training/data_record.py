"""Record of the data of a run, so that a resumed run says if they have changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lhotse.cut import Cut

from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.strict import parse_json
from keyframe_asr.data.packed_cuts import PackedCuts
from keyframe_asr.errors import TrainingError
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.training.checkpoint import NO_SPACE
from keyframe_asr.training.log import TrainingLog
from keyframe_asr.training.run_data import RunData

DATA_FILE = "data.json"


def record_data(
    recipe: Recipe, data: RunData, folder: Path, finished: int, log: TrainingLog
) -> None:
    """Write what the run trains on; warn about data that differ from the record.

    Args:
        recipe: recipe of the run.
        data: its data.
        folder: folder of the run.
        finished: number of finished stages, whose record stays as it is.
        log: logs the changes.

    Raises:
        TrainingError: the record cannot be written.
    """
    before = _read(folder / DATA_FILE)
    now = {"dev set": _described(data.dev)}
    for number, (stage, cuts) in enumerate(zip(recipe.stages, data.train, strict=True)):
        name = f"stage '{stage.name}'"
        is_finished = number < finished and name in before
        now[name] = before[name] if is_finished else _described(cuts)
    for name, values in now.items():
        if name in before and before[name] != values:
            log.warning(
                f"{name} has other data than before: {_shown(before[name])} -> {_shown(values)}"
            )
    write_whole(folder / DATA_FILE, json.dumps(now, indent=1), NO_SPACE, TrainingError)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # a run of version 0.1 has none
        return {}
    return found if isinstance(found, dict) else {}


def _described(cuts: Sequence[Cut]) -> dict[str, Any]:
    """Number, duration, and a digest of names, durations and texts, in their order."""
    packed = cuts if isinstance(cuts, PackedCuts) else PackedCuts.of(cuts)
    digest, seconds = hashlib.blake2b(digest_size=8), 0.0
    values = zip(packed.ids, packed.durations.tolist(), packed.texts, strict=True)
    for name, duration, text in values:
        digest.update(f"{name}\t{duration}\t{text}\n".encode("utf-8", "surrogatepass"))
        seconds += duration
    hours = round(seconds / 3600, 4)
    return {"utterances": len(packed), "hours": hours, "digest": digest.hexdigest()}


def _shown(values: Any) -> str:
    if not isinstance(values, dict):
        return "unknown"
    return (
        f"{values.get('utterances')} utterances, {values.get('hours')} h ({values.get('digest')})"
    )
