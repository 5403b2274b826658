"""`keyframe fine-tune`: a model for your own recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keyframe_asr.cli.error_line import advice_on_interrupt
from keyframe_asr.cli.options import Model, grouped
from keyframe_asr.fine_tuning.options import FineTuneOptions

FLAGS = {
    "epochs": typer.Option(min=1, help="Passes over the recordings, at most."),
    "learning_rate": typer.Option(min=1e-9, max=1.0, help="Peak learning rate."),
    "unfreeze_from_layer": typer.Option(
        min=0, help="Also train the pretrained encoder from this layer on; 0: all of it."
    ),
    "language": typer.Option(help="Language of the texts (tag). Default: the model's."),
    "vocabulary": typer.Option(
        help="keep the model's text units, extend them by letters that it lacks, or new."
    ),
    "replay": typer.Option(
        metavar="MANIFEST|synthetic|none",
        help="Other speech to mix in, so that the model does not forget.",
    ),
    "also_measure": typer.Option(
        metavar="MANIFEST", help="Also measure the error on these, before and after."
    ),
    "overrides": typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a recipe key; repeat for several."
    ),
    "resume": typer.Option("--resume", help="Go on with what was interrupted."),
    "standalone": typer.Option(
        "--standalone", help="Write all weights, so that the model folder needs no other."
    ),
    "keep_encodings": typer.Option(
        "--keep-encodings", help="Keep the stored outputs of the frozen encoder."
    ),
}


@grouped
def fine_tune(
    model: Model,
    train: Annotated[
        str, typer.Argument(metavar="TRAIN", help="Manifest, table or folder of recordings.")
    ],
    dev: Annotated[
        str | None,
        typer.Argument(metavar="[DEV]", help="The same for development. Default: part of TRAIN."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = ...,  # type: ignore[assignment]
    plan: Annotated[
        bool, typer.Option("--plan", help="Print what would be done, and exit.")
    ] = False,
    *,
    options: Annotated[FineTuneOptions, FLAGS],
) -> None:
    """Make a model for your own recordings out of one that is trained."""
    from rich.console import Console

    from keyframe_asr.cli.measuring import progress_lines
    from keyframe_asr.fine_tuning import report, run
    from keyframe_asr.fine_tuning.measuring import say
    from keyframe_asr.fine_tuning.preparing import describe_plan, prepare
    from keyframe_asr.io.model_location import has_graphs

    if plan:
        typer.echo(describe_plan(prepare(model, train, dev, out, options, say)), nl=False)
        return
    with advice_on_interrupt("run the same command again with --resume to go on"):
        done = run.fine_tune(model, train, dev, out=out, options=options, progress=progress_lines())
    report.show(done.report, Console())
    typer.echo(done.model)
    if not has_graphs(done.model):
        faster = "to run it without torch, and faster on a CPU: keyframe export"
        typer.echo(f"{faster} {done.model} --int8", err=True)
