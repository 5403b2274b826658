"""What Ctrl-C does: end the program at once while it starts, then raise `KeyboardInterrupt`."""

from __future__ import annotations

import os
import signal

from keyframe_asr.cli.error_line import INTERRUPTED, show_interrupt


def end_on_interrupt() -> None:
    """Let Ctrl-C end the program with one line, until `raise_on_interrupt`.

    An exception would not do: imports, `exec` and Typer handle it in their own ways. A program that
    ignores interrupts, as in the background of a script, still does.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def raise_on_interrupt() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again, so that what is begun is cleaned up."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*received: object) -> None:
    show_interrupt(KeyboardInterrupt())
    os._exit(INTERRUPTED)
