"""`make study NAME=...`, or `python -m research NAME`: run a study and write its results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyframe_asr.cli.error_line import show_error
from keyframe_asr.cli.main import main
from keyframe_asr.errors import KeyframeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from research.definition import StudyDefinition
    from research.measurement import Measurement, Record

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def study(
    name: Annotated[
        str, typer.Argument(help="Name of a study in research/studies, or a YAML file.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder whose research/records and docs are written to.")
    ] = Path("."),
    runs: Annotated[
        Path, typer.Option(help="Folder for trainings, with a subfolder per training study.")
    ] = Path("runs/studies"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a study key: split=dev."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Measure only this variant; repeat for several."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of trainings per variant.")] = 1,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be measured, and exit.")
    ] = False,
    redraw: Annotated[
        bool,
        typer.Option("--redraw", help="Only rewrite table, picture and paragraph from the record."),
    ] = False,
) -> None:
    """Run the missing measurements of a study, and write its results.

    Each result is stored at once, and finished measurements are skipped. The study's paragraph is
    written between its marks on a page of results, if a page has them and --set is not given.
    """
    from research.definition import load_study

    definition = load_study(name, overrides)
    # imported after the definition is read, so that a bad definition fails at once
    from research.catalogue import command_of, study_of
    from research.measurement import Record, choose, measure
    from research.training.study import highest_seed

    stem = Path(name).stem
    record = Record.load(out / "research" / "records" / f"{stem}.json")
    failed: list[KeyframeError] = []
    measured = study_of(stem, definition, runs, None)
    if not redraw:
        chosen = choose(measured.measurements(seeds), only or [])
        if plan:
            _print_plan(stem, chosen, record)
            return
        described = definition.model_dump(mode="json")
        failed = measure(chosen, record, described, lambda line: typer.echo(line, err=True))
        for error in failed:
            show_error(error)
    if not record.parts:
        advice = "see the errors above" if failed else f"run {command_of(name)}"
        raise KeyframeError(f"{record.path}: nothing has been measured yet; {advice}")
    outdated = record.outdated(measured.measurements(max(seeds, highest_seed(record.parts))))
    _write(name, definition, record, outdated, out / "docs", on_page=not overrides)
    if failed:
        raise KeyframeError(f"{stem}: {len(failed)} measurements failed; see above")


def _write(
    name: str,
    definition: StudyDefinition,
    record: Record,
    outdated: Sequence[str],
    documentation: Path,
    *,
    on_page: bool,
) -> None:
    from research.catalogue import write_summary, write_tables

    written = write_tables(name, definition, record, documentation, outdated)
    if on_page:
        written += write_summary(name, definition, record, documentation, outdated)
    for path in written:
        typer.echo(path)


def _print_plan(name: str, measurements: Sequence[Measurement], record: Record) -> None:
    from rich.console import Console
    from rich.table import Table

    from research.measurement import plan

    table = Table(title=name)
    for heading in ("measurement", "work", "done", "about"):
        table.add_column(heading, justify="left" if heading == "measurement" else "right")
    planned = plan(measurements, record)
    for one in planned:
        about = "" if one.seconds is None else _duration(one.seconds)
        done = "yes" if one.is_done else ""
        table.add_row(one.measurement.name, f"{one.measurement.work:g}", done, about)
    waiting = [one for one in planned if not one.is_done]
    known = [one.seconds for one in waiting if one.seconds is not None]
    console = Console()
    console.print(table)
    summary = f"{len(waiting)} of {len(planned)} to measure"
    if waiting:
        summary += f", about {_duration(sum(known))}" if known else "; duration not known yet"
    console.print(summary)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    main(app)
