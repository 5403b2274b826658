"""`keyframe quantise`: store the weights of a model as 8-bit integers."""

from __future__ import annotations

from pathlib import Path

import typer

from keyframe_asr.cli.options import Model
from keyframe_asr.errors import ModelError


def quantise(
    model: Model,
    out: Path = typer.Option(..., help="Model folder to write."),
    every_weight: bool = typer.Option(
        False,
        "--every-weight",
        help="Quantise all matrices, not only those of the pretrained encoder and decoder.",
    ),
) -> None:
    """Make a model smaller by storing weights as 8-bit integers.

    By default only the weights of a pretrained encoder and decoder are quantised, to a quarter of
    their float32 size. Run keyframe evaluate on both models to measure the effect.
    """
    from keyframe_asr.io.model_folder import (
        WEIGHTS_FILE,
        find_model,
        load_model_folder,
        quantise_model_folder,
    )

    folder = find_model(model)
    network = load_model_folder(folder).network  # refuses a damaged model
    parts = ("pretrained.",) if network.pretrained_decoder is None else ("pretrained.", "decoder.")
    names = {
        name for name, _ in network.named_parameters() if every_weight or name.startswith(parts)
    }
    if not names:
        raise ModelError(
            f"{folder}: no pretrained encoder or decoder to quantise; add --every-weight to "
            "quantise all"
        )
    quantise_model_folder(folder, out, names)
    before, after = ((place / WEIGHTS_FILE).stat().st_size / 1e6 for place in (folder, out))
    print(f"{out}: weights are {after:.1f} MB, before {before:.1f} MB")
