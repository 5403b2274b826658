"""Every type holds, as mypy sees them in its strict mode."""

from __future__ import annotations

import subprocess
import sys

import pytest

from architecture.source_tree import REPOSITORY


@pytest.mark.slow
def test_mypy_finds_nothing() -> None:
    """Without its cache it takes a while, which other tests fill on the other cores."""
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "src", "research"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stdout + result.stderr
