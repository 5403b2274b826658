"""Spelled words, numbers and dates."""

from __future__ import annotations

import random

import pytest

from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.text.forms import normalise_text
from research.spelled_text import display, line


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("K E V I N", "K-E-V-I-N."),
        ("MARCH FIRST NINETEEN TEN", "March first nineteen ten."),
        ("B X FOUR OH", "B-X four oh."),
        ("TWO SIX", "Two six."),
    ],
)
def test_display_form(said: str, shown: str) -> None:
    assert display(said) == shown


def test_the_normal_form_of_every_line_is_what_is_said() -> None:
    draw = random.Random(1)
    lines = [line(["kevin", "open"], draw) for _ in range(300)]
    assert len(set(lines)) > 100
    for said in lines:
        assert normalise_text(display(said), TEXT_FORMS["mandarin-english"]) == said
