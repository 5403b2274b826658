"""Report of `keyframe evaluate`: error rates, frame reduction and speed, as JSON and table."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich import box
from rich.table import Table

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.errors import ManifestError
from keyframe_asr.evaluation.metrics import (
    UNIT_NAMES,
    character_errors,
    confidence_interval,
    count_errors,
    split_characters,
    split_units,
    split_words,
    word_errors,
)
from keyframe_asr.io.atomic_write import replacing
from keyframe_asr.text.forms import normaliser

_PLAIN_LIST = re.compile(r'\[\n(?: *(?:"(?:[^"\\]|\\.)*"|[-+\w.]+),?\n)+ *\]')
"""A list of strings, numbers and names in indented JSON, in which no string has a line break."""

ModeT = TypeVar("ModeT", bound=str)
"""Type of decode mode names, which may be a literal type."""


@dataclass(frozen=True)
class Evaluated:
    """An evaluated manifest.

    Attributes:
        model: name of the model.
        manifest: as given by the user.
        text_form: of references and hypotheses; selects the error unit.
        ids: name of each utterance.
        references: text of each utterance.
        audio_seconds: of all utterances.
        frame_reduction: fraction of encoder frames dropped before encoder 2.
        keyframes_per_token: input frames of encoder 2 per token of the references.
        device: device of the computation, for instance "cpu".
        threads: CPU threads of the computation.
    """

    model: str
    manifest: str
    text_form: TextForm
    ids: Sequence[str]
    references: Sequence[str]
    audio_seconds: float
    frame_reduction: float
    keyframes_per_token: float
    device: str
    threads: int


@dataclass(frozen=True)
class Decoded:
    """The output of one decode mode.

    Attributes:
        hypotheses: text of each utterance.
        seconds: run time, including encoding.
        search: what the mode was decoded with, as JSON takes it; empty if greedily.
    """

    hypotheses: Sequence[str]
    seconds: float
    search: Mapping[str, Any] = field(default_factory=dict)


def build_report(evaluated: Evaluated, decoded: Mapping[ModeT, Decoded]) -> dict[str, Any]:
    """Build the report; rates are fractions.

    In each mode, `ci95` is the 95 % confidence interval of the rate in `unit`: words (`wer`),
    characters (`cer`), or mixed, which are words and single characters of scripts without spaces
    (`wer`). Substitutions, deletions and insertions are counts of the same unit.

    Raises:
        ManifestError: all references are empty.
    """
    form = evaluated.text_form
    references = [normaliser(form)(text) for text in evaluated.references]
    if not any(references):
        written = next((text for text in evaluated.references if text.strip()), None)
        raise ManifestError(
            f"{evaluated.manifest}: no utterance has a reference text; add texts to the manifest"
            if written is None
            else f"{evaluated.manifest}: the model's text form leaves nothing of the reference "
            f"texts, for example '{written}'; write numbers as words"
        )
    return {
        "model": evaluated.model,
        "manifest": evaluated.manifest,
        "utterances": len(references),
        "audio_seconds": round(evaluated.audio_seconds, 3),
        "frame_reduction": evaluated.frame_reduction,
        "keyframes_per_token": evaluated.keyframes_per_token,
        "text_form": form.name,
        "normalisation": form.description,
        "unit": form.unit,
        "machine": machine(evaluated.device),
        "threads": evaluated.threads,
        "decode": {
            mode: _mode_report(evaluated, references, result) for mode, result in decoded.items()
        },
        "per_utterance": _per_utterance(evaluated, references, decoded),
    }


def _per_utterance(
    evaluated: Evaluated, references: list[str], decoded: Mapping[ModeT, Decoded]
) -> dict[str, Any]:
    """What a comparison of two reports needs: units of each reference, and errors by mode."""
    form = evaluated.text_form
    units = [split_units(text, form) for text in references]
    return {
        "ids": list(evaluated.ids),
        "lengths": [len(one) for one in units],
        "errors": {
            mode: [
                count_errors([one], [split_units(normaliser(form)(text), form)]).total
                for one, text in zip(units, result.hypotheses, strict=True)
            ]
            for mode, result in decoded.items()
        },
    }


def _mode_report(evaluated: Evaluated, references: list[str], decoded: Decoded) -> dict[str, Any]:
    form = evaluated.text_form
    hypotheses = [normaliser(form)(text) for text in decoded.hypotheses]
    words, characters = (
        count(references, hypotheses, form) for count in (word_errors, character_errors)
    )
    word_interval, character_interval = (
        confidence_interval(
            [split(text, form) for text in references],
            [split(text, form) for text in hypotheses],
        )
        for split in (split_words, split_characters)
    )
    in_characters = form.unit == "characters"
    errors = characters if in_characters else words
    return {
        "cer": characters.rate,
        "wer": words.rate,
        "ci95": list(character_interval if in_characters else word_interval),
        "cer_ci95": list(character_interval),
        "wer_ci95": list(word_interval),
        "substitutions": errors.substitutions,
        "deletions": errors.deletions,
        "insertions": errors.insertions,
        "reference_length": errors.reference_length,
        "rtf": decoded.seconds / evaluated.audio_seconds if evaluated.audio_seconds else 0.0,
        "search": dict(decoded.search),
    }


def machine(device: str) -> str:
    """Description of the machine and device of a measurement."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    kind = " ".join(filter(None, (platform.machine(), _processor())))
    return f"{platform.system()} {kind}, {cores} CPU cores, computed on {device}"


def _processor() -> str:
    """The name of the processor, if the system provides it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "")


def empty_table(
    title: str, columns: Sequence[str], *, texts: int = 1, caption: str | None = None
) -> Table:
    """A table without rows; the first `texts` columns contain text, the others numbers."""
    # two spaces between columns, so that the widest row of `evaluate` has 80
    table = Table(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=title, caption=caption
    )
    for place, name in enumerate(columns):
        table.add_column(name, justify="left" if place < texts else "right", no_wrap=True)
    return table


def render(report: Mapping[str, Any]) -> Table:
    """The report as a table, one row per decode mode."""
    words = UNIT_NAMES["mixed" if report.get("unit") == "mixed" else "words"]
    table = empty_table(
        f"{report['model']} on {report['manifest']}",
        ("decode", "CER % (95 %)", f"{words} % (95 %)", "sub/del/ins", "RTF"),
        caption=(
            f"{report['utterances']} utterances, {report['audio_seconds'] / 60:.1f} minutes; "
            f"{report['frame_reduction']:.1%} of the encoder frames dropped, "
            f"{report['keyframes_per_token']:.2f} keyframes per token; "
            f"text form {report['text_form']}"
        ),
    )
    for mode, row in report["decode"].items():
        table.add_row(
            mode,
            _percent(row["cer"], row["cer_ci95"]),
            _percent(row["wer"], row["wer_ci95"]),
            f"{row['substitutions']}/{row['deletions']}/{row['insertions']}",
            f"{row['rtf']:.4f}",
        )
    return table


def _percent(rate: float, interval: Sequence[float]) -> str:
    return f"{100 * rate:.2f} ({100 * interval[0]:.1f}-{100 * interval[1]:.1f})"


def save_report(report: Mapping[str, Any], path: Path) -> None:
    """Write the report as JSON, atomically. Raises `KeyframeError` if it cannot be written."""
    text = json.dumps(report, ensure_ascii=False, indent=2, allow_nan=False)
    text = _PLAIN_LIST.sub(_on_one_line, text)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _on_one_line(found: re.Match[str]) -> str:
    return "[" + " ".join(line.strip() for line in found[0][1:-1].splitlines()).strip() + "]"
