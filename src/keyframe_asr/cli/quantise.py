"""`keyframe quantise`: a model folder with its weights as 8-bit integers."""

from __future__ import annotations

from pathlib import Path

import typer

from keyframe_asr.errors import ModelError


def quantise(
    model: str = typer.Argument(help="Model folder, or the name of a shipped model."),
    out: Path = typer.Option(..., help="Model folder to write."),
    every_weight: bool = typer.Option(
        False, "--every-weight", help="All matrices, not only those of the pretrained encoder."
    ),
) -> None:
    """Make a model smaller: its weights as 8-bit integers.

    By default those of its pretrained encoder alone, which become a quarter of float32. Measure
    what it costs: `keyframe evaluate` of both folders.
    """
    from keyframe_asr.io.model_folder import (
        CARD_FILE,
        WEIGHTS_FILE,
        find_model,
        load_model_folder,
        save_model_folder,
    )

    folder = find_model(model)
    if out.resolve() == folder.resolve():
        raise ModelError(f"{out}: is the model itself; give another folder with --out")
    stored = load_model_folder(folder)
    part = "" if every_weight else "pretrained."
    names = {name for name, _ in stored.network.named_parameters() if name.startswith(part)}
    if not names:
        raise ModelError(
            f"{folder}: has no pretrained encoder; --every-weight quantises its own weights"
        )
    card = folder / CARD_FILE
    readme = card.read_text(encoding="utf-8") if card.is_file() else f"# {stored.config.name}\n"
    save_model_folder(out, stored.network, stored.tokenizer, stored.config, readme, quantised=names)
    before, after = ((place / WEIGHTS_FILE).stat().st_size / 1e6 for place in (folder, out))
    print(f"{out}: {after:.1f} MB of weights, {before:.1f} MB before")
