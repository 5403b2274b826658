"""`keyframe demo`: recognition, training and evaluation on a synthetic corpus, offline."""

from __future__ import annotations

from pathlib import Path

import typer


def demo(
    out: Path = typer.Option(
        Path("demo-output"), help="Output folder. The output of an earlier demo is deleted."
    ),
    long: bool = typer.Option(
        False, "--long", help="Train from random weights, for longer: about 15 minutes."
    ),
) -> None:
    """Recognise synthetic speech, then train and compare three small models, offline.

    Takes about four minutes on two CPU cores. A shipped model recognises fresh synthetic speech;
    then three models, which start from its lower half, are trained on a small corpus of synthetic
    Mandarin and compared on unseen voices: all frames, keyframes with TIL, and keyframes with AXE.
    Last, one utterance is drawn.
    """
    from rich.console import Console

    from keyframe_asr.demo.run import LONG, SHORT, run_demo

    run_demo(out, Console(), LONG if long else SHORT)
