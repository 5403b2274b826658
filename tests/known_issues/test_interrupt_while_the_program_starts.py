"""Ctrl-C while the command line was imported ended in a long traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

from keyframe_asr.cli.error_line import INTERRUPTED

INTERRUPTED_IMPORT = """
import runpy, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["keyframe", "--help"]
runpy.run_module("keyframe_asr", run_name="__main__")
"""


@pytest.mark.parametrize(
    "module", ["typer", "dataclasses", "keyframe_asr.cli.main", "keyframe_asr.cli.doctor"]
)
def test_one_line(module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT.format(module=module)],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (INTERRUPTED, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("keyframe: ")
