"""Numbers that lost their point, sign, colon or fraction bar when digits were kept."""

from __future__ import annotations

import pytest

from keyframe_asr.config.text_choices import TextFormName
from keyframe_asr.config.text_form import TEXT_FORMS, with_digits
from keyframe_asr.text.numbers import changed_number

EVERY_FORM = [with_digits(form) for form in TEXT_FORMS.values()]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3.5元", "3.5"),
        ("1/2", "1/2"),
        ("-5度", "-5"),
        ("气温-5度", "-5"),
        ("气温−5度", "−5"),
        ("10:30", "10:30"),
        ("10：30", "10:30"),
        ("1,000 men", "1,000"),
        ("10 - 20", "10 - 20"),
        ("50%", "50%"),
        ("50 %", "50 %"),
        ("$5", "$5"),
        ("5℃", "5°"),
        ("10²", "10²"),
        ("3½", "3"),
        (".5 of it", ".5"),
        ("5'10", "5'10"),
        ("٣٫٥", "٣٫٥"),
    ],
)
def test_a_number_that_would_change_is_named(text: str, number: str) -> None:
    for form in EVERY_FORM:
        assert number in changed_number(text, form)


@pytest.mark.parametrize(
    "text",
    [
        "26度",
        "room 42, please",
        "好，5个",
        "(5)",
        "“5”",
        "today 5.",
        "covid-19",
        "F-16",
        "№5",
        "1990's",
    ],
)
def test_a_number_that_stays_is_kept(text: str) -> None:
    for form in EVERY_FORM:
        assert changed_number(text, form) == ""


@pytest.mark.parametrize(("name", "number"), [("mandarin", "10, 20"), ("english-digits", "")])
def test_numbers_in_a_row_are_not_joined(name: TextFormName, number: str) -> None:
    assert changed_number("10, 20 men", TEXT_FORMS[name]) == number
