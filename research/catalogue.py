"""Map a study's definition to its measurements, and its record to files in the documentation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from keyframe_asr.errors import KeyframeError
from keyframe_asr.io.atomic_write import write_whole
from research.cost.report import CostStudyReport
from research.cost.study import CostStudy
from research.definition import (
    CostDefinition,
    DroppedDefinition,
    FineTuningDefinition,
    LatencyDefinition,
    StressDefinition,
    StudyDefinition,
    TrainingDefinition,
)
from research.dropped.report import DroppedStudyReport
from research.dropped.study import DroppedStudy
from research.fine_tuning.report import FineTuningStudyReport
from research.fine_tuning.study import FineTuningStudy
from research.latency.report import LatencyStudyReport
from research.latency.study import LatencyStudy
from research.measurement import Record, Study
from research.presentation import document, find_page, save_figure, write_between_marks
from research.stress.report import StressStudyReport
from research.stress.study import StressStudy
from research.training.report import TrainingStudyReport
from research.training.study import FIRST_SEED, TrainingStudy, highest_seed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLES = Path("results") / "studies"
"""Folder of tables and pictures in the documentation."""


class Report(Protocol):
    """The report of any kind of study."""

    @property
    def is_empty(self) -> bool:
        """True if there are no results for a table yet."""
        ...

    def markdown(self) -> list[str]:
        """Return paragraphs and tables."""
        ...

    def summary(self) -> str:
        """Return the findings, as a paragraph or list."""
        ...

    def figure(self) -> Figure | None:
        """Return the picture, or None if there are too few results."""
        ...


def study_of(name: str, definition: StudyDefinition, runs: Path, device: str | None) -> Study:
    """Create the study NAME; training studies have a folder each in `runs`."""
    if isinstance(definition, StressDefinition):
        return StressStudy(definition, runs, device)
    if isinstance(definition, CostDefinition):
        return CostStudy(definition, device)
    if isinstance(definition, TrainingDefinition):
        return TrainingStudy(definition, runs / name, device)
    if isinstance(definition, FineTuningDefinition):
        return FineTuningStudy(definition, runs / name, device)
    if isinstance(definition, LatencyDefinition):
        return LatencyStudy(definition, runs / name)
    assert isinstance(definition, DroppedDefinition), definition.kind
    return DroppedStudy(definition, device)


def report_of(definition: StudyDefinition, record: Record) -> Report:
    """Create the report of a study."""
    if isinstance(definition, StressDefinition):
        return StressStudyReport(definition, record.results)
    if isinstance(definition, CostDefinition):
        return CostStudyReport(definition, record.results)
    if isinstance(definition, TrainingDefinition):
        return TrainingStudyReport(definition, record.results)
    if isinstance(definition, FineTuningDefinition):
        return FineTuningStudyReport(definition, record.results)
    if isinstance(definition, LatencyDefinition):
        return LatencyStudyReport(definition, record.results)
    assert isinstance(definition, DroppedDefinition), definition.kind
    return DroppedStudyReport(definition, record.results)


def write_tables(
    name: str,
    definition: StudyDefinition,
    record: Record,
    documentation: Path,
    outdated: Sequence[str] = (),
) -> list[Path]:
    """Write the study's table and picture into the documentation, and return their paths.

    `outdated` measurements are listed but not compared.

    Raises:
        KeyframeError: matplotlib is missing, a file cannot be written, or all results are outdated,
            in which case the old table is kept.
    """
    current = record.without(outdated)
    report = report_of(definition, current)
    if outdated and report.is_empty:
        raise KeyframeError(
            f"{record.path}: all results were measured with other settings than the study has now, "
            f"so its table is kept; measure again: {command_of(name)}"
        )
    text, picture = _files(record, documentation)
    figure = report.figure()
    if figure is not None:
        save_figure(figure, picture)
    paragraphs = [
        f"*{definition.question}*",
        f"![{definition.title}]({picture.name})" if figure is not None else "",
        *report.markdown(),
        _left_out(outdated),
        _measured_on(current),
    ]
    command = command_of(name, highest_seed(current.parts))
    write_whole(text, document(definition.title, command, paragraphs))
    return [text] if figure is None else [text, picture]


def write_summary(
    name: str,
    definition: StudyDefinition,
    record: Record,
    documentation: Path,
    outdated: Sequence[str] = (),
) -> list[Path]:
    """Write the study's paragraph on the page of results with its marks, and return the page.

    Raises:
        KeyframeError: a page cannot be read or written.
    """
    current = record.without(outdated)
    summary = report_of(definition, current).summary()
    page = find_page(record.path.stem, documentation) if summary else None
    if page is None:
        return []
    text, picture = (
        Path(os.path.relpath(path, page.parent)).as_posix()
        for path in _files(record, documentation)
    )
    paragraphs = [
        f"*{definition.question}* (`{command_of(name, highest_seed(current.parts))}`)",
        f"![{definition.title}]({picture})" if (page.parent / picture).exists() else "",
        summary,
        " ".join(filter(None, [_left_out(outdated), _measured_on(current)])),
        f"[All figures]({text}).",
    ]
    write_between_marks(record.path.stem, paragraphs, page)
    return [page]


def command_of(name: str, seeds: int = FIRST_SEED) -> str:
    """Return the command that measures a study with this many trainings per variant."""
    return f"make study NAME={name}" + (
        f' ARGUMENTS="--seeds {seeds}"' if seeds > FIRST_SEED else ""
    )


def _files(record: Record, documentation: Path) -> tuple[Path, Path]:
    """Return the paths of the table and the picture."""
    stem = documentation / TABLES / record.path.stem
    return stem.with_suffix(".md"), stem.with_suffix(".png")


def _left_out(outdated: Sequence[str]) -> str:
    return f"Left out, measured with another setting: {'; '.join(outdated)}." if outdated else ""


def _measured_on(record: Record) -> str:
    return f"Measured on {'; '.join(record.machines)}." if record.machines else ""
