"""`keyframe copy`: copy a model folder."""

from __future__ import annotations

from pathlib import Path

import typer

from keyframe_asr.cli.options import Model


def copy(
    model: Model,
    out: Path = typer.Option(..., help="Model folder to write."),
    standalone: bool = typer.Option(
        False, "--standalone", help="Also store what MODEL takes from its base model."
    ),
) -> None:
    """Copy a model to another folder, for instance to take it to another machine.

    A fine-tuned model may hold only what differs from its base model. The copy still finds the
    base where it is; with --standalone it needs none.
    """
    from keyframe_asr.config.model import load_model_folder_config
    from keyframe_asr.io.model_copy import copy_model_folder
    from keyframe_asr.io.model_location import CONFIG_FILE, find_model

    folder = find_model(model)
    config = load_model_folder_config(folder / CONFIG_FILE)
    copy_model_folder(folder, out, config, standalone=standalone)
    size = sum(path.stat().st_size for path in out.rglob("*")) / 1e6
    base = "" if standalone or config.base is None else f", needs '{config.base.model}'"
    print(f"{out}: {size:.1f} MB{base}")
