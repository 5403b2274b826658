"""From a study's definition to what measures it, and from its record to its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from keyframe_asr.evaluation.studies.cost import CostMeasurement
from keyframe_asr.evaluation.studies.cost_report import CostReport
from keyframe_asr.evaluation.studies.definition import (
    CostStudy,
    DroppedStudy,
    StressStudy,
    StudyDefinition,
    TrainingStudy,
)
from keyframe_asr.evaluation.studies.dropped import DroppedMeasurement
from keyframe_asr.evaluation.studies.dropped_report import DroppedReport
from keyframe_asr.evaluation.studies.figures import save_figure
from keyframe_asr.evaluation.studies.markdown import document
from keyframe_asr.evaluation.studies.results_page import update_page
from keyframe_asr.evaluation.studies.run import Record, Study, write_text
from keyframe_asr.evaluation.studies.stress import StressMeasurement
from keyframe_asr.evaluation.studies.stress_report import StressReport
from keyframe_asr.evaluation.studies.training import TrainingMeasurement
from keyframe_asr.evaluation.studies.training_report import TrainingReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Report(Protocol):
    """What every kind of study tells of its results."""

    def markdown(self) -> list[str]:
        """Paragraphs and tables."""
        ...

    def summary(self) -> str:
        """What was found, in a paragraph or a list."""
        ...

    def figure(self) -> Figure | None:
        """The picture, None as long as there is too little to draw."""
        ...


def measurement(study: StudyDefinition, runs: Path, device: str | None) -> Study:
    """What measures a study; `runs` is where it trains."""
    if isinstance(study, StressStudy):
        return StressMeasurement(study, device)
    if isinstance(study, CostStudy):
        return CostMeasurement(study, device)
    if isinstance(study, TrainingStudy):
        return TrainingMeasurement(study, runs, device)
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


def write_report(
    name: str, study: StudyDefinition, record: Record, outdated: Sequence[str] = ()
) -> list[Path]:
    """Write NAME.md, NAME.png and the paragraph on the page of results; returns what was written.

    Parts that are `outdated` are named, but not compared with the others.

    Raises:
        KeyframeError: matplotlib is missing, or a file cannot be written.
    """
    found = report(study, record.without(outdated))
    written = []
    picture = record.path.with_suffix(".png")
    figure = found.figure()
    if figure is not None:
        save_figure(figure, picture)
        written.append(picture)
    machines = "; ".join(record.machines)
    parts = [
        f"*{study.question}*",
        f"![{study.title}]({picture.name})" if figure is not None else "",
        *found.markdown(),
        f"Left out, measured with another setting: {'; '.join(outdated)}." if outdated else "",
        f"Measured on {machines}." if machines else "",
    ]
    text = record.path.with_suffix(".md")
    write_text(document(study.title, f"keyframe study {name}", parts), text)
    shown = f"{record.path.parent.name}/{picture.name}"
    page = update_page(
        record.path.stem,
        [
            f"*{study.question}* (`keyframe study {name}`)",
            f"![{study.title}](results/{shown})" if figure is not None else "",
            found.summary(),
            f"[All figures](results/{record.path.parent.name}/{text.name}).",
        ],
        record.path.parent,
    )
    return [text, *written, *([page] if page is not None else [])]
