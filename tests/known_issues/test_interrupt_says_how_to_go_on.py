"""Ctrl-C ended a command without a word: neither what is kept nor how to go on."""

from __future__ import annotations

import signal

import pytest
import typer

from fixtures.command_line import run
from keyframe_asr.cli.error_line import INTERRUPTED, STARTS_AGAIN, advice_on_interrupt
from keyframe_asr.cli.main import VERBS, app, interruptible, main


def interrupted_with(*advice: str) -> None:
    """Interrupt this process, inside of blocks with these pieces of advice."""
    if not advice:
        signal.raise_signal(signal.SIGINT)
    with advice_on_interrupt(advice[0]):
        interrupted_with(*advice[1:])


@pytest.mark.parametrize(
    ("advice", "shown"),
    [
        ((), STARTS_AGAIN),
        (("start over",), "start over"),
        (("outer", "go on\nthere"), "go on there"),
    ],
)
def test_one_line_and_exit_code_130(advice: tuple[str, ...], shown: str) -> None:
    program = typer.Typer()
    program.command()(interruptible(lambda: interrupted_with(*advice)))
    ended = run(lambda: main(program))
    assert (ended.exit_code, ended.stdout) == (INTERRUPTED, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("keyframe: ")
    assert line.partition("; ")[2] == shown


def test_every_verb_is_interruptible() -> None:
    verbs = {command.name: command.callback for command in app.registered_commands}
    assert set().union(*VERBS.values()) <= set(verbs)
    assert all(getattr(callback, "__wrapped__", None) for callback in verbs.values())
