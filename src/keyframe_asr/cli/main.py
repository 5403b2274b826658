"""`keyframe`: collects the verbs, and turns a user's mistake into one line and exit code 1.

The verbs' files import what is heavy (torch, lhotse) inside their functions, so that
`keyframe --help` answers at once.
"""

from __future__ import annotations

import importlib
import io
import sys

import typer

from keyframe_asr import __version__
from keyframe_asr.cli.error_line import show_error
from keyframe_asr.errors import KeyframeError

VERBS: dict[str, tuple[str, ...]] = {
    "Use": ("transcribe", "align", "inspect"),
    "Train": ("prepare", "check-data", "train", "evaluate"),
    "Models": ("calibrate", "quantise", "language-model"),
    "Other": ("demo", "doctor", "hallucinations", "measure-times"),
}
"""Panels of the help and their verbs. Each verb is a function of the same name in
`keyframe_asr.cli.<verb>`, where its hyphen is an underscore."""

app = typer.Typer(
    name="keyframe",
    help="Speech recognition whose encoder shortens speech to about the length of its text.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version."
    ),
) -> None:
    del version


for _panel, _verbs in VERBS.items():
    for _verb in _verbs:
        _name = _verb.replace("-", "_")
        _module = importlib.import_module(f"keyframe_asr.cli.{_name}")
        app.command(name=_verb, rich_help_panel=_panel)(getattr(_module, _name))


def main(application: typer.Typer = app) -> None:
    """Run a command line: exit code 0 done, 1 a problem with the input, 2 wrong usage."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a name or text that the terminal's encoding lacks must not end the run
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        application()
    except KeyframeError as error:
        show_error(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
