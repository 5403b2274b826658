"""What two readings of an utterance agree on, and where a contradicting reading goes on."""

from __future__ import annotations

import pytest

from keyframe_asr.inference.local_agreement import Agreement, following
from keyframe_asr.results import Token


def tokens(text: str) -> list[Token]:
    """One token a letter, every half second."""
    return [Token(one, place / 2, place / 2 + 0.3, 1.0) for place, one in enumerate(text)]


def text(found: tuple[Token, ...]) -> str:
    return "".join(token.text for token in found)


@pytest.mark.parametrize(
    ("committed", "reading", "rest"),
    [
        ("", "AB", "AB"),
        ("AB", "AB", ""),
        ("AB", "ABCD", "CD"),
        ("AB", "AXCD", "CD"),
        ("ABC", "ABXD", "D"),
        ("ABC", "", ""),
        ("ABC", "A", ""),
    ],
)
def test_a_reading_goes_on_after_what_is_committed(committed: str, reading: str, rest: str) -> None:
    assert text(following(tokens(committed), tokens(reading))) == rest


def test_a_token_that_disappeared_hides_no_later_one() -> None:
    reading = [Token("A", 0.0, 0.3, 1.0), Token("D", 1.5, 1.8, 1.0)]
    assert text(following(tokens("AB"), reading)) == "D"


def test_the_common_beginning_of_two_readings_is_committed() -> None:
    agreed = Agreement().with_reading(tokens("ABC")).with_reading(tokens("ABXD"))
    assert (text(agreed.committed), text(agreed.rest)) == ("AB", "XD")
    agreed = agreed.with_reading(tokens("ABXE"))
    assert (text(agreed.committed), text(agreed.rest)) == ("ABX", "E")
    assert text(agreed.all_committed().committed) == "ABXE"


def test_case_and_punctuation_need_not_agree() -> None:
    agreed = Agreement().with_reading([Token("▁Yes.", 0.0, 0.3, 1.0)])
    agreed = agreed.with_reading([Token("▁yes,", 0.0, 0.3, 1.0), Token("▁I", 0.4, 0.5, 1.0)])
    assert (text(agreed.committed), text(agreed.rest)) == ("▁yes,", "▁I")


def test_times_stay_in_order() -> None:
    agreed = Agreement((Token("A", 1.0, 1.2, 1.0),), (Token("B", 0.9, 0.95, 1.0),))
    assert [(one.start, one.end) for one in agreed.all_committed().committed] == [
        (1.0, 1.2),
        (1.0, 1.0),
    ]
