"""The table of the demo: the models of a recipe's stages compared on unseen voices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.io.atomic_write import write_whole

HIGHEST_ERROR, LOWEST_REDUCTION = 0.10, 0.80
"""What keyframes + AXE is expected to reach: character error rate, fraction of frames dropped."""

COLUMNS = (
    "model",
    "CER % (95 % interval)",
    "CER % decoder",
    "frames dropped",
    "keyframes a token",
    "real-time factor",
)

LEGEND = """\
CER %              character errors per 100 characters, of the text read off in one step
CER % decoder      the same of the text that the attention decoder writes token by token
frames dropped     share of the frames that the upper half of the encoder never sees
keyframes a token  frames that it sees per character
real-time factor   seconds of computing per second of speech, for the text of one step"""
"""What the columns mean."""


@dataclass(frozen=True)
class Compared:
    """A row of the table: stage, label, greedy decode mode and evaluation report of a model."""

    stage: str
    label: str
    mode: DecodeMode
    report: dict[str, Any]

    @property
    def error(self) -> float:
        """Character error rate of the greedy mode, a fraction."""
        rate: float = self.report["decode"][self.mode]["cer"]
        return rate

    @property
    def frame_reduction(self) -> float:
        """Fraction of encoder frames that are dropped before encoder 2."""
        share: float = self.report["frame_reduction"]
        return share

    @property
    def meets_expectation(self) -> bool:
        """Whether error and frames dropped are what keyframes are expected to reach."""
        return self.error < HIGHEST_ERROR and self.frame_reduction >= LOWEST_REDUCTION


def as_table(rows: Sequence[Compared]) -> Table:
    """Return the table for a terminal, at most 80 columns wide."""
    table = Table(title=_title(rows), box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for place, name in enumerate(COLUMNS):
        # The headers of numbers may break, names and intervals may not.
        table.add_column(
            name.replace(" (", "\n("), justify="right" if place else "left", no_wrap=place < 2
        )
    for row in rows:
        table.add_row(*_cells(row))
    return table


def as_markdown(rows: Sequence[Compared]) -> str:
    """Return the table, its legend and the machine as Markdown."""
    lines = [COLUMNS, ("---", *["---:"] * (len(COLUMNS) - 1)), *(_cells(row) for row in rows)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    machine = rows[0].report["machine"]
    return f"{_title(rows)}\n\n{table}\n\n```\n{LEGEND}\n```\n\nMeasured on {machine}.\n"


def save_comparison(rows: Sequence[Compared], folder: Path) -> tuple[Path, Path]:
    """Write `table.md` and `table.json` atomically; return their paths."""
    reports = [{"stage": row.stage, "label": row.label, **row.report} for row in rows]
    contents = {
        "table.md": as_markdown(rows),
        "table.json": json.dumps(reports, ensure_ascii=False, indent=2, allow_nan=False) + "\n",
    }
    for name, content in contents.items():
        write_whole(folder / name, content)
    return folder / "table.md", folder / "table.json"


def _title(rows: Sequence[Compared]) -> str:
    report = rows[0].report
    return (
        f"{report['utterances']} utterances ({report['audio_seconds'] / 60:.1f} minutes) of voices "
        "that training never heard"
    )


def _cells(row: Compared) -> tuple[str, ...]:
    decode = row.report["decode"]
    return (
        row.label,
        _percent(decode[row.mode]),
        f"{100 * decode['attention']['cer']:.1f}",
        f"{row.frame_reduction:.1%}",
        f"{row.report['keyframes_per_token']:.2f}",
        f"{decode[row.mode]['rtf']:.4f}",
    )


def _percent(result: dict[str, Any]) -> str:
    low, high = result["cer_ci95"]
    return f"{100 * result['cer']:.1f} ({100 * low:.1f}-{100 * high:.1f})"
