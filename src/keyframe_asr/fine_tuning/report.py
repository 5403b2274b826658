"""What a fine-tuning reports: errors before and after, the worst recordings, what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from keyframe_asr.evaluation.report import empty_table
from keyframe_asr.fine_tuning.measuring import Recognised


def comparison_report(before: Recognised, after: Recognised) -> dict[str, Any]:
    """Errors of both models on the same recordings, in each decode mode, with the difference."""
    rows = {}
    for mode in after.texts:
        if mode not in before.texts:
            continue
        paired = before.compared(after, mode)
        rows[mode] = {
            "before": before.error(mode),
            "before_ci95": list(before.interval(mode)),
            "after": after.error(mode),
            "after_ci95": list(after.interval(mode)),
            "difference": paired.difference,
            "difference_ci95": [paired.low, paired.high],
        }
    return {
        "recordings": len(after.names),
        "unit": after.unit,
        "mode_before": before.default,
        "mode_after": after.default,
        "before": before.error(),
        "after": after.error(),
        "decode": rows,
        "worst": after.worst(),
    }


def show(report: Mapping[str, Any], console: Console) -> None:
    """Print the report for people."""
    dev = report["dev"]
    parts: list[Table | Text] = [_table(dev, f"errors on the development set ({dev['unit']})")]
    if report["also_measured"] is not None:
        other = report["also_measured"]
        parts.append(_table(other, f"errors on {other['name']} ({other['unit']})"))
    for row in dev["worst"]:
        errors = "1 error" if row["errors"] == 1 else f"{row['errors']} errors"
        lines = f"{row['name']}: {errors}", row["reference"], row["hypothesis"]
        parts.append(Text("\n    ".join(lines)))
    console.print(Group(*parts), soft_wrap=True)


def _table(measured: Mapping[str, Any], title: str) -> Table:
    table = empty_table(title, ("decode", "before %", "after %", "difference (95 %)"))
    for mode, row in measured["decode"].items():
        low, high = (100 * value for value in row["difference_ci95"])
        table.add_row(
            mode + (" (default)" if mode == measured["mode_after"] else ""),
            f"{100 * row['before']:.1f}",
            f"{100 * row['after']:.1f}",
            f"{100 * row['difference']:+.1f} ({low:+.1f} to {high:+.1f})",
        )
    return table
