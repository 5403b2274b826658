"""`keyframe train`: run a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
        Path | None, typer.Option(help="Weights (.safetensors) to start from.")
    ] = None,
) -> None:
    """Train all stages of RECIPE and write a model folder for each."""
    from keyframe_asr.config import load_recipe

    loaded = load_recipe(recipe, overrides)
    from keyframe_asr.training.run import train_recipe  # after it: a bad recipe is refused at once

    folder = out or Path("runs") / loaded.name
    model = train_recipe(loaded, folder, resume=resume, initial=initial)
    typer.echo(model)
