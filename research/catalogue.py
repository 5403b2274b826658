"""From a study's definition to what measures it, and from its record to its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from keyframe_asr.errors import KeyframeError
from research.cost import CostMeasurement
from research.cost_report import CostReport
from research.definition import (
    CostStudy,
    DroppedStudy,
    StressStudy,
    StudyDefinition,
    TrainingStudy,
)
from research.dropped import DroppedMeasurement
from research.dropped_report import DroppedReport
from research.figures import save_figure
from research.markdown import document
from research.results_page import update_page
from research.run import Record, Study, write_text
from research.stress import StressMeasurement
from research.stress_report import StressReport
from research.training import (
    FIRST_SEED,
    TrainingMeasurement,
    highest_seed,
)
from research.training_report import TrainingReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Report(Protocol):
    """What every kind of study tells of its results."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing yet to make a table of."""
        ...

    def markdown(self) -> list[str]:
        """Paragraphs and tables."""
        ...

    def summary(self) -> str:
        """What was found, in a paragraph or a list."""
        ...

    def figure(self) -> Figure | None:
        """The picture, None as long as there is too little to draw."""
        ...


def measurement(name: str, study: StudyDefinition, runs: Path, device: str | None) -> Study:
    """What measures the study NAME; studies that train have a folder each in `runs`."""
    if isinstance(study, StressStudy):
        return StressMeasurement(study, runs, device)
    if isinstance(study, CostStudy):
        return CostMeasurement(study, device)
    if isinstance(study, TrainingStudy):
        return TrainingMeasurement(study, runs / name, device)
    assert isinstance(study, DroppedStudy), study.kind
    return DroppedMeasurement(study, device)


def report(study: StudyDefinition, record: Record) -> Report:
    """What there is to tell of a study."""
    if isinstance(study, StressStudy):
        return StressReport(study, record.results)
    if isinstance(study, CostStudy):
        return CostReport(study, record.results)
    if isinstance(study, TrainingStudy):
        return TrainingReport(study, record.results)
    assert isinstance(study, DroppedStudy), study.kind
    return DroppedReport(study, record.results)


def write(
    name: str, study: StudyDefinition, record: Record, outdated: Sequence[str], *, on_page: bool
) -> list[Path]:
    """Write the report and, if `on_page`, the summary; returns what was written.

    Raises:
        KeyframeError: as `write_report` and `write_summary` do.
    """
    written = write_report(name, study, record, outdated)
    return written + write_summary(name, study, record, outdated) if on_page else written


def write_report(
    name: str, study: StudyDefinition, record: Record, outdated: Sequence[str] = ()
) -> list[Path]:
    """Write NAME.md and NAME.png beside the record; returns what was written.

    Parts that are `outdated` are named, but not compared with the others.

    Raises:
        KeyframeError: matplotlib is missing, a file cannot be written, or what is outdated leaves
            nothing to show, for which no table is given away.
    """
    current = record.without(outdated)
    found = report(study, current)
    if outdated and found.is_empty:
        raise KeyframeError(
            f"{record.path}: what was measured with another setting than the study has now leaves "
            f"nothing to show; its table stays as it is. Measure it anew: keyframe study {name}"
        )
    written = []
    picture = record.path.with_suffix(".png")
    figure = found.figure()
    if figure is not None:
        save_figure(figure, picture)
        written.append(picture)
    parts = [
        f"*{study.question}*",
        f"![{study.title}]({picture.name})" if figure is not None else "",
        *found.markdown(),
        _left_out(outdated),
        _measured_on(current),
    ]
    text = record.path.with_suffix(".md")
    write_text(document(study.title, _command(name, current), parts), text)
    return [text, *written]


def write_summary(
    name: str, study: StudyDefinition, record: Record, outdated: Sequence[str] = ()
) -> list[Path]:
    """Write the study's paragraph on the page of results; returns the page if it has marks for it.

    Raises:
        KeyframeError: the page cannot be read or written.
    """
    current = record.without(outdated)
    summary = report(study, current).summary()
    if not summary:
        return []
    folder, picture = record.path.parent, record.path.with_suffix(".png")
    lines = [
        f"*{study.question}* (`{_command(name, current)}`)",
        f"![{study.title}](results/{folder.name}/{picture.name})" if picture.exists() else "",
        summary,
        " ".join(filter(None, [_left_out(outdated), _measured_on(current)])),
        f"[All figures](results/{folder.name}/{record.path.stem}.md).",
    ]
    page = update_page(record.path.stem, lines, folder)
    return [] if page is None else [page]


def _command(name: str, record: Record) -> str:
    """What measures as many trainings as the record holds."""
    seeds = highest_seed(record.parts)
    return f"keyframe study {name}" + (f" --seeds {seeds}" if seeds > FIRST_SEED else "")


def _left_out(outdated: Sequence[str]) -> str:
    return f"Left out, measured with another setting: {'; '.join(outdated)}." if outdated else ""


def _measured_on(record: Record) -> str:
    return f"Measured on {'; '.join(record.machines)}." if record.machines else ""
