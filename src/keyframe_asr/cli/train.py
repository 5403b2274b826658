"""`keyframe train`: run a recipe."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from keyframe_asr.cli.error_line import advice_on_interrupt

if TYPE_CHECKING:
    from keyframe_asr.config.recipe import Recipe


def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="Recipe (YAML file).")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run. Default: runs/NAME, the name in the recipe."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a recipe key, such as training.batch_seconds=60; repeat for several.",
        ),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue from the last checkpoint.")] = False,
    initial: Annotated[
        str | None,
        typer.Option(
            help="Start from this model, or weights file (.safetensors). Weights that do not fit "
            "are skipped; fails if hardly any fit."
        ),
    ] = None,
    reinitialise: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="With --initial: part of the network to re-initialise, such as encoder2; repeat "
            "for several.",
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be trained, and exit.")
    ] = False,
) -> None:
    """Train a model from a recipe.

    Each stage of the recipe writes a model folder.

    Several devices: torchrun --nproc-per-node N -m keyframe_asr.cli.main train RECIPE
    """
    if reinitialise and initial is None:
        raise typer.BadParameter(
            "needs a model to start from; add --initial", param_hint="--reinitialise"
        )
    # of torch, before it is imported: a process that has lost another says so itself
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    from keyframe_asr.config.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    parts = reinitialise or ()
    # imported after the recipe is read, so that a bad recipe fails at once
    from keyframe_asr.training import run

    if plan:
        _print_plan(loaded, initial, parts)
        return
    with advice_on_interrupt("run the same command again with --resume to go on"):
        done = run.train(loaded, out, resume=resume, initial=initial, reinitialise=parts)
    if os.environ.get("RANK", "0") == "0":  # torchrun starts several processes
        typer.echo(done.model)


def _print_plan(recipe: Recipe, initial: str | None, reinitialise: Sequence[str]) -> None:
    import tempfile

    from rich.console import Console

    from keyframe_asr.training.plan import plan_recipe, show

    with tempfile.TemporaryDirectory() as scratch:
        show(plan_recipe(recipe, Path(scratch), initial, reinitialise), Console())
