"""Normal forms of transcripts: their names, what they keep, and what they would lose."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyframe_asr.config.model import NormalisationName
from keyframe_asr.text.forms import NORMALISATIONS, has_digits, normalisation_for, normalise_text


def test_every_name_a_recipe_may_give_is_a_normal_form() -> None:
    assert set(NORMALISATIONS) == set(get_args(NormalisationName))
    assert all(name == one.name for name, one in NORMALISATIONS.items())
    assert all(name.startswith(one.language) for name, one in NORMALISATIONS.items())


def test_digits_decide_the_form_of_english_only() -> None:
    assert normalisation_for("english", "refuse").name == "english"
    assert normalisation_for("english", "keep").name == "english-digits"
    assert normalisation_for("mandarin", "refuse").name == "mandarin"
    assert normalisation_for("mandarin", "keep").name == "mandarin"


def test_english_with_digits() -> None:
    assert normalise_text("Room ４2-b, №5 don’t", "english-digits") == "ROOM 42 B NO5 DON'T"
    assert normalise_text("Room 42", "english") == "ROOM"


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("Café, ﬁne! (naïve) 50 € – ß", "50"),
        ("Łódź", "Ł"),
        ("а я", "АЯ"),
        ("once upon a time...", ""),
        ("42 42", "42"),
    ],
)
def test_what_english_loses(text: str, lost: str) -> None:
    assert NORMALISATIONS["english"].lost(text) == lost


@given(st.text(max_size=30))
def test_mandarin_loses_no_letters_and_no_digits(text: str) -> None:
    normal = NORMALISATIONS["mandarin"]
    assert normal.lost(text) == ""
    assert normal.lost(normal(text)) == ""
    assert has_digits(normal(text)) == has_digits(text)


@given(st.text(max_size=30), st.sampled_from(sorted(NORMALISATIONS)))
def test_normal_forms_stay_as_they_are(text: str, name: NormalisationName) -> None:
    normal = normalise_text(text, name)
    assert normalise_text(normal, name) == normal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("room 42", True),
        ("２６度", True),
        ("①", True),
        ("½", True),
        ("٣", True),
        ("二〇二六年", False),
        ("十五", False),
        ("Ⅳ", False),
        ("", False),
    ],
)
def test_digits_are_found_however_they_are_written(text: str, expected: bool) -> None:
    assert has_digits(text) is expected
