"""`keyframe train`: run a recipe."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from keyframe_asr.config.recipe import Recipe


def train(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run; default: runs/NAME of the recipe.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, for example training.batch_seconds=60."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
    initial: Annotated[
        str | None,
        typer.Option(
            help="Model, or weights (.safetensors), to start from as far as they fit; refused if "
            "hardly any do."
        ),
    ] = None,
    reinitialise: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PART",
            help="Part of the network that keeps random weights all the same (several times): "
            "for example encoder2.",
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be trained, and stop.")
    ] = False,
) -> None:
    """Train a model from a recipe.

    Each stage of RECIPE writes a model folder.
    Several devices or machines: torchrun --nproc-per-node N -m keyframe_asr.cli.main train RECIPE
    """
    if reinitialise and initial is None:
        raise typer.BadParameter(
            "names parts of the model to start from; add --initial", param_hint="--reinitialise"
        )
    from keyframe_asr.config.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    parts = reinitialise or ()
    # after the recipe, so that a bad one is refused at once
    from keyframe_asr.training import run

    if plan:
        _print_plan(loaded, initial, parts)
        return
    done = run.train(loaded, out, resume=resume, initial=initial, reinitialise=parts)
    if os.environ.get("RANK", "0") == "0":  # torchrun starts several, one of which may speak
        typer.echo(done.model)


def _print_plan(recipe: Recipe, initial: str | None, reinitialise: Sequence[str]) -> None:
    import tempfile

    from rich.console import Console

    from keyframe_asr.training.plan import plan_recipe, show

    with tempfile.TemporaryDirectory() as scratch:
        show(plan_recipe(recipe, Path(scratch), initial, reinitialise), Console())
