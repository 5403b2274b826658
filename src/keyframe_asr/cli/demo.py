"""`keyframe demo`: recognition, training and evaluation on a synthetic corpus, offline."""

from __future__ import annotations

from pathlib import Path

import typer


def demo(
    out: Path = typer.Option(
        Path("demo-output"), help="Output folder. The output of an earlier demo is deleted."
    ),
) -> None:
    """Recognise synthetic speech, then train and compare three small models, offline."""
    from rich.console import Console

    from keyframe_asr.demo.run import run_demo

    run_demo(out, Console())
