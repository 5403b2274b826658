"""Print an error, a note, or what an interrupt leaves, as one line on standard error."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keyframe_asr.errors import KeyframeWarning

INTERRUPTED = 130
"""Exit code after Ctrl-C, as of a program that the signal ends."""

STARTS_AGAIN = "run the same command again to start over"
"""Advice after the interrupt of a command that keeps nothing."""


def show_error(error: Exception) -> None:
    """Print the error on standard error, as one line even if a file name has line breaks."""
    _print_line("error: ", str(error))


def show_note(note: str) -> None:
    """Print on standard error, as one line, what is no error."""
    _print_line("", note)


def show_interrupt(interrupt: KeyboardInterrupt) -> None:
    """Print that the command was interrupted, and the advice given to `advice_on_interrupt`."""
    _print_line("interrupted; ", str(interrupt) or STARTS_AGAIN)


def show_warnings() -> None:
    """Print the warnings of this package as one line, and those of others as Python does."""
    others = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **where: Any) -> None:
        if issubclass(category, KeyframeWarning):
            _print_line("warning: ", str(message))
        else:
            others(message, category, *place, **where)

    warnings.showwarning = show


@contextmanager
def advice_on_interrupt(advice: str) -> Iterator[None]:
    """Add advice to a keyboard interrupt (Ctrl-C) in this block: how to go on.

    `keyframe` prints it as one line and exits with 130. Advice of an inner block is kept.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(str(interrupt) or advice) from None


def _print_line(kind: str, message: str) -> None:
    print(f"keyframe: {kind}{' '.join(message.splitlines())}", file=sys.stderr)
