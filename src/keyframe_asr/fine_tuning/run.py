"""Fine-tune a model: everything from recordings to a model folder and a report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from lhotse.cut import Cut

from keyframe_asr.config.strict import parse_json
from keyframe_asr.data.manifest import text
from keyframe_asr.errors import TrainingError
from keyframe_asr.evaluation.report import save_report
from keyframe_asr.fine_tuning.card import write_card
from keyframe_asr.fine_tuning.finishing import (
    ENCODINGS,
    LANGUAGE_MODEL,
    Finished,
    Progress,
    finish,
    recognise_sets,
)
from keyframe_asr.fine_tuning.measuring import Measurement, Recognised, say
from keyframe_asr.fine_tuning.options import FineTuneOptions
from keyframe_asr.fine_tuning.preparing import (
    REPORT_FILE,
    Prepared,
    claim_folder,
    prepare,
    prepare_replay,
    write_start,
)
from keyframe_asr.fine_tuning.recipe import HEADS, STAGE
from keyframe_asr.fine_tuning.report import comparison_report
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.torch_network import usable_device
from keyframe_asr.io.model_folder import load_model_folder
from keyframe_asr.text.forms import normaliser
from keyframe_asr.training.checkpoint import STATE_FILE
from keyframe_asr.training.log import START_IS_KEPT, read_log
from keyframe_asr.training.run import train
from keyframe_asr.training.stage_model import model_folder


@dataclass(frozen=True)
class FineTuned:
    """Result of a fine-tuning.

    Attributes:
        model: the model folder.
        report: what `report.json` holds.
    """

    model: Path
    report: dict[str, Any]


def fine_tune(
    model: str | Path,
    train: str | Path,
    dev: str | Path | None = None,
    *,
    out: str | Path,
    options: FineTuneOptions | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Fine-tune a model on recordings with their texts.

    Writes `model`, `report.json` and `log.jsonl` into `out`. The model is never worse on the
    development set than it was: if no epoch is better, it is kept.

    Args:
        model: folder or name of a model.
        train: recordings for training: a manifest, a table, or a folder.
        dev: recordings for development; None holds some of `train` out.
        out: folder to write.
        options: how; None is the default.
        progress: called while recordings are recognised.

    Raises:
        KeyframeError: the model, the recordings or the folder cannot be used; one line.
    """
    began = time.monotonic()
    options = options or FineTuneOptions()
    progress = progress or (lambda step, done, total: None)
    folder = Path(out)
    reading = partial(progress, "reading recordings")
    sources = str(train), None if dev is None else str(dev)
    prepared = prepare(model, *sources, folder, options, say, reading)
    claim_folder(prepared, {"model": str(model), "train": sources[0], "dev": sources[1]})
    if (folder / REPORT_FILE).is_file():
        say(f"{folder}: is finished already")
        done = parse_json((folder / REPORT_FILE).read_text(encoding="utf-8"))
        return FineTuned(model_folder(folder), done)
    write_start(prepared)
    replay, replay_file = prepare_replay(prepared, progress)
    others: Sequence[Cut] = [] if replay is None else list(replay.held_out)
    if prepared.also_measured is not None:
        others = prepared.also_measured
    sets = {"dev": list(prepared.speech.dev), "other": others}
    before = _before(prepared, str(model), sets, progress)
    is_start = _train(prepared, replay_file)
    after = finish(prepared, str(model), is_start, before["dev"], sets, progress)
    report = {
        "model": str(model),
        "train": str(train),
        "recordings": len(prepared.speech.train),
        "hours": round(prepared.speech.hours, 4),
        "start_is_kept": after.is_start,
        **_compared(before, after, options.also_measure),
        "decoding": after.decoding,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    write_card(model_folder(folder), prepared.config, report)
    save_report(report, folder / REPORT_FILE)
    _tidy(folder, options.keep_encodings)
    return FineTuned(model_folder(folder), report)


def _compared(
    before: dict[str, Recognised], after: Finished, also_measure: str | None
) -> dict[str, Any]:
    """The parts of the report that compare errors before and after."""
    compared = {
        name: comparison_report(found, after.recognised[name]) for name, found in before.items()
    }
    name = also_measure or "the replayed speech, held out"
    other = {"name": name, **compared["other"]} if "other" in compared else None
    return {"dev": compared["dev"], "also_measured": other}


def _before(
    prepared: Prepared, model: str, sets: dict[str, Sequence[Cut]], progress: Progress
) -> dict[str, Recognised]:
    """What the model recognises before; read from the folder if it was measured already."""
    path = prepared.folder / "before.json"
    if path.is_file():
        stored = parse_json(path.read_text(encoding="utf-8"))
        form = prepared.config.text_form
        known = {name: Recognised(**values, form=form) for name, values in stored.items()}
        _check_unchanged(known, sets, prepared.folder)
        return known
    recognizer = _recognizer(prepared)
    form = prepared.config.text_form
    measurement = Measurement(recognizer, prepared.folder / ENCODINGS, form)
    found = recognise_sets(measurement, sets, "before", progress)
    described = {name: asdict(one) for name, one in found.items()}
    for one in described.values():
        del one["form"]
    save_report(described, path)
    return found


def _recognizer(prepared: Prepared) -> Recognizer:
    """The model as it was; it computes with the integers of a pretrained decoder, as in use."""
    stored = prepared.stored
    if stored.decoder_tokenizer is not None and usable_device(None).type == "cpu":
        loaded = load_model_folder(prepared.source, integers=True)
        stored = replace(loaded, config=stored.config)
    return Recognizer(stored)


def _check_unchanged(
    before: dict[str, Recognised], sets: dict[str, Sequence[Cut]], folder: Path
) -> None:
    """Refuse to go on with other recordings than were measured: some may have been trained on."""
    for name, cuts in sets.items():
        measured = before.get(name)
        form = next(iter(before.values())).form
        known = sorted(zip(measured.names, measured.references, strict=True)) if measured else []
        if known != sorted((cut.id, normaliser(form)(text(cut))) for cut in cuts):
            which = "development set" if name == "dev" else "recordings that are also measured"
            raise TrainingError(
                f"{folder}: its {which} had other recordings or texts when it was started; give "
                "the same again, or choose another --out"
            )


def _train(prepared: Prepared, replay: Path | None) -> bool:
    """Train; returns True if the model as it was is best."""
    folder = prepared.folder
    resume = (folder / STATE_FILE).is_file()
    train(
        prepared.recipe(replay), folder, resume=resume, initial=None if resume else prepared.start
    )
    finished = [entry for entry in read_log(folder) if START_IS_KEPT in entry]
    # after a stage for new units, the last one starts with what that has trained
    return bool(finished[-1][START_IS_KEPT]) and len(prepared.recipe(replay).stages) == 1


def _tidy(folder: Path, keep_encodings: bool) -> None:
    """Delete what only a resume needs."""
    for name in (STAGE, HEADS, "start", "tensorboard", *([] if keep_encodings else [ENCODINGS])):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (STATE_FILE, "before.json", "cmvn.json", ".lock", LANGUAGE_MODEL):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob("tokenizer.*"):
        path.unlink()
