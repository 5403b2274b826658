"""The `keyframe` command: registers the verbs and reports a `KeyframeError` as one line.

The files of the verbs import heavy packages (torch, lhotse) inside their functions, so that
`keyframe --help` is fast.
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
"""Panels of the help and their verbs. A verb is the function of the same name in the module of the
same name, with underscores for hyphens."""

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
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    del version


for _panel, _verbs in VERBS.items():
    for _verb in _verbs:
        _name = _verb.replace("-", "_")
        _module = importlib.import_module(f"keyframe_asr.cli.{_name}")
        app.command(name=_verb, rich_help_panel=_panel)(getattr(_module, _name))


def main(application: typer.Typer = app) -> None:
    """Run the command line. Exit codes: 0 done, 1 a problem with the input, 2 wrong usage."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a symbol that the terminal's encoding lacks must not stop the run
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        application()
    except KeyframeError as error:
        show_error(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
