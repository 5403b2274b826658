"""The `keyframe` command: registers the verbs, and reports errors, interrupts and missing packages
as one line.

The files of the verbs import heavy packages (torch, lhotse) inside their functions, so that
`keyframe --help` is fast.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import typer

from keyframe_asr import __version__
from keyframe_asr.cli.error_line import INTERRUPTED, show_error, show_interrupt, show_warnings
from keyframe_asr.cli.help_layout import Command
from keyframe_asr.cli.interrupts import raise_on_interrupt
from keyframe_asr.cli.standard_output import OutputError, standard_output
from keyframe_asr.errors import KeyframeError
from keyframe_asr.io.threads import set_openmp
from keyframe_asr.packages import packages_for

VERBS: dict[str, tuple[str, ...]] = {
    "Use": ("transcribe", "stream", "serve", "align", "inspect"),
    "Train": ("fine-tune", "prepare", "check-data", "train", "evaluate"),
    "Models": ("tune", "calibrate", "quantise", "export", "copy", "push", "language-model"),
    "Other": ("demo", "doctor", "hallucinations", "measure-times"),
}
"""Panels of the help and their verbs. A verb is the function of the same name in the module of the
same name, with underscores for hyphens."""

OTHER_SPELLINGS = {"quantize": "quantise"}
"""Verbs that are also found by another spelling, which the help leaves out."""

TRAINING_VERBS = ("train", "fine-tune", "demo")
"""Verbs that give the same weights again, whatever the load of the machine."""

app = typer.Typer(
    name="keyframe",
    help="Speech recognition with an encoder that shortens speech to about the length of its text.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    del version
    show_warnings()
    # here, because OpenMP reads them when torch is imported, and verbs import it
    set_openmp(os.environ, reproducible=context.invoked_subcommand in TRAINING_VERBS)


def interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """Let Ctrl-C end a verb with one line instead of silently."""

    @functools.wraps(command)
    def call(*arguments: Any, **options: Any) -> None:
        try:
            raise_on_interrupt()
            command(*arguments, **options)
        except KeyboardInterrupt as interrupt:
            show_interrupt(interrupt)
            raise typer.Exit(INTERRUPTED) from None

    return call


def _verb(name: str) -> Callable[..., None]:
    module = importlib.import_module(f"keyframe_asr.cli.{name.replace('-', '_')}")
    command = packages_for(f"keyframe {name}")(getattr(module, name.replace("-", "_")))
    return interruptible(command)


for _panel, _names in VERBS.items():
    for _name in _names:
        app.command(name=_name, cls=Command, rich_help_panel=_panel)(_verb(_name))
for _other, _name in OTHER_SPELLINGS.items():
    app.command(name=_other, cls=Command, hidden=True)(_verb(_name))


def main(application: typer.Typer = app) -> None:
    """Run the command line.

    Exit codes: 0 done, 1 a problem with the input or the output, 2 wrong usage, 130 interrupted.
    """
    try:
        with standard_output():
            application()
    except (KeyframeError, OutputError) as error:
        show_error(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
