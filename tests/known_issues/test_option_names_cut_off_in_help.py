"""On narrow terminals, the help of a verb showed `--language-mod…` for an option."""

from __future__ import annotations

import re

import pytest

from architecture.public_api import commands, flags_of
from fixtures.command_line import keyframe


@pytest.mark.parametrize("columns", [60, 80, 99, 100])
@pytest.mark.parametrize("verb", sorted(commands()))
def test_every_name_is_whole(verb: str, columns: int) -> None:
    shown = keyframe(verb, "--help", columns=columns)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    words = set(re.split(r"[\s,/│]+", shown.stdout))
    assert {flag for flag in flags_of(commands()[verb]) if flag.startswith("--")} <= words


def test_quantise_has_its_american_spelling() -> None:
    british, american = keyframe("quantise", "--help"), keyframe("quantize", "--help")
    assert american.exit_code == 0
    assert american.stdout == british.stdout.replace(" quantise ", " quantize ")
    assert "quantize" not in keyframe("--help").stdout
