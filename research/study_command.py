"""`keyframe study`: answer a question by measuring, and write its table, picture and paragraph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyframe_asr.cli.error_line import show_error
from keyframe_asr.errors import KeyframeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from research.run import Part, Record


def study(
    name: Annotated[
        str, typer.Argument(help="Name of a study that the package holds, or a YAML file.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for NAME.json, NAME.md and NAME.png.")] = Path(
        "docs/results/studies"
    ),
    runs: Annotated[
        Path, typer.Option(help="Folder for what is trained; each study that trains has one in it.")
    ] = Path("runs/studies"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value of the study, for example split=dev."),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Measure this variant; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each variant.")] = 1,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be measured, and stop.")
    ] = False,
    redraw: Annotated[
        bool,
        typer.Option("--redraw", help="Write table, picture and paragraph from what is there."),
    ] = False,
) -> None:
    """Measure what is not measured yet of the study NAME, and write what it found.

    Parts that are finished are skipped; what a part found is written at once. The study's paragraph
    goes into results.md two folders above --out, if that has marks for it, unless --set is given.
    """
    from research.definition import load_study

    definition = load_study(name, overrides)
    # after it: a bad one fails at once
    from research import catalogue, run
    from research.training import highest_seed

    stem = Path(name).stem
    record = run.Record.load(out / f"{stem}.json")
    failed: list[KeyframeError] = []
    measurement = catalogue.measurement(stem, definition, runs, None)
    if not redraw:
        parts = run.choose(measurement.parts(seeds), only or [])
        if plan:
            _print_plan(stem, parts, record)
            return
        described = definition.model_dump(mode="json")
        failed = run.measure(parts, record, described, lambda line: typer.echo(line, err=True))
        for error in failed:
            show_error(error)
    if not record.parts:
        advice = "mend what is said above" if failed else f"run keyframe study {name}"
        raise KeyframeError(f"{record.path}: nothing has been measured yet; {advice}")
    outdated = record.outdated(measurement.parts(max(seeds, highest_seed(record.parts))))
    for path in catalogue.write(name, definition, record, outdated, on_page=not overrides):
        typer.echo(path)
    if failed:
        raise KeyframeError(f"{stem}: {len(failed)} parts could not be measured; see above")


def _print_plan(name: str, parts: Sequence[Part], record: Record) -> None:
    from rich.console import Console
    from rich.table import Table

    from research.run import plan

    table = Table(title=name)
    for heading in ("part", "work", "done", "about"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    planned = plan(parts, record)
    for one in planned:
        about = "" if one.seconds is None else _duration(one.seconds)
        table.add_row(one.part.name, f"{one.part.work:g}", "yes" if one.is_done else "", about)
    waiting = [one for one in planned if not one.is_done]
    known = [one.seconds for one in waiting if one.seconds is not None]
    console = Console()
    console.print(table)
    console.print(
        f"{len(waiting)} of {len(planned)} parts to measure"
        + (f", about {_duration(sum(known))}" if known else "; how long is not known yet")
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
