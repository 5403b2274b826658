"""`keyframe demo`: the whole path on a corpus it makes itself, offline."""

from __future__ import annotations

from pathlib import Path

import typer


def demo(
    out: Path = typer.Option(
        Path("demo-output"), help="Folder for all that is made; an earlier demo's is emptied."
    ),
) -> None:
    """See it work: recognise speech, then train and compare three small models, offline."""
    from rich.console import Console

    from keyframe_asr.demo.run import run_demo

    run_demo(out, Console())
