"""Words of tokens, whatever kind of tokenizer they come from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyframe_asr.decoding.timestamps import words
from keyframe_asr.results import Token, Word
from keyframe_asr.text.scripts import mixed_words
from keyframe_asr.text.tokenizer import UNKNOWN_TEXT

PIECES = ["▁TURN", "▁", "ED", "S", " ", "你", "好", "▁你好吗", "A", "7", UNKNOWN_TEXT, "▁ON你"]


def tokens_of(pieces: Sequence[str]) -> list[Token]:
    """Half a second each; the confidence falls from token to token."""
    return [
        Token(piece, place / 2, (place + 1) / 2, 1 - place / 100)
        for place, piece in enumerate(pieces)
    ]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], []),
        (["▁TURN", "ED", "▁ON"], ["TURNED", "ON"]),
        (["TURN", "ED"], ["TURNED"]),
        (["▁", "TURN", "▁"], ["TURN"]),
        (["打", "开", "A", "B", "7", "灯"], ["打", "开", "AB7", "灯"]),
        (["O", "N", " ", "I", "T"], ["ON", "IT"]),
        (["▁T", UNKNOWN_TEXT, "▁", UNKNOWN_TEXT], [f"T{UNKNOWN_TEXT}", UNKNOWN_TEXT]),
        (["▁你好", "吗"], ["你", "好", "吗"]),
    ],
)
def test_texts(pieces: list[str], expected: list[str]) -> None:
    assert [word.text for word in words(tokens_of(pieces))] == expected


def test_times_and_confidence() -> None:
    found = words(tokens_of(["▁你好", "▁O", "N"]))
    assert found == [
        Word("你", 0.0, 0.25, 1.0),
        Word("好", 0.25, 0.5, 1.0),
        Word("ON", 0.5, 1.5, 0.98),
    ]


@given(st.lists(st.sampled_from(PIECES)))
def test_words_are_those_of_the_text(pieces: list[str]) -> None:
    tokens = tokens_of(pieces)
    found = words(tokens)
    text = "".join(pieces).replace("▁", " ")
    assert [word.text for word in found] == mixed_words(text)
    assert all(first.end <= second.start for first, second in pairwise(found))
    assert all(0 <= word.start < word.end <= tokens[-1].end for word in found)
