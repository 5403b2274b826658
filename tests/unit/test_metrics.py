"""Error rates against a slow edit distance, and what counts as a word or a character."""

from __future__ import annotations

import math
import random

import pytest

from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.evaluation.metrics import (
    Errors,
    character_errors,
    confidence_interval,
    count_errors,
    split_characters,
    split_words,
    word_errors,
)


def slow_edit_distance(reference: list[str], hypothesis: list[str]) -> int:
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, 1):
        previous, row[0] = row[0], i
        for j, found in enumerate(hypothesis, 1):
            previous, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, previous + (expected != found)),
            )
    return row[-1]


def test_operations_are_told_apart() -> None:
    found = count_errors([list("ABCD"), list("AB"), []], [list("AXCD"), list("ABC"), []])
    assert found == Errors(substitutions=1, deletions=0, insertions=1, reference_length=6)
    assert found.rate == pytest.approx(2 / 6)
    assert count_errors([list("ABC")], [list("AC")]).deletions == 1


def test_random_sequences_have_the_least_number_of_edits() -> None:
    generator = random.Random(3)
    for _ in range(300):
        reference, hypothesis = (
            [generator.choice("ABC") for _ in range(generator.randint(0, 8))] for _ in range(2)
        )
        found = count_errors([reference], [hypothesis])
        assert found.total == slow_edit_distance(reference, hypothesis)
        assert found.insertions - found.deletions == len(hypothesis) - len(reference)


def test_empty_references() -> None:
    assert count_errors([[]], [[]]).rate == 0.0
    assert count_errors([[]], [["A"]]).rate == math.inf
    assert confidence_interval([[]], [["A"]]) == (0.0, 1.0)


def test_english_counts_spaces_as_characters() -> None:
    assert split_words(" TURN  ON ", TEXT_FORMS["english"]) == ["TURN", "ON"]
    assert split_characters(" TURN  ON ", TEXT_FORMS["english"]) == list("TURN ON")
    assert character_errors(["TURN ON"], ["TURNON"], TEXT_FORMS["english"]).deletions == 1
    assert word_errors(["TURN ON"], ["TURNON"], TEXT_FORMS["english"]).total == 2


def test_mandarin_ignores_spaces_and_takes_characters_for_words() -> None:
    assert split_characters("打开 灯", TEXT_FORMS["mandarin"]) == ["打", "开", "灯"]
    assert split_words("打开ABC 灯𠀀", TEXT_FORMS["mandarin"]) == ["打", "开", "ABC", "灯", "𠀀"]
    assert character_errors(["打开 灯"], ["打 开灯"], TEXT_FORMS["mandarin"]).total == 0


def test_interval_holds_the_rate_and_narrows_with_more_utterances() -> None:
    references = [["A", "B", "C"]] * 10
    hypotheses = [["A", "B", "C"]] * 7 + [["A", "X", "C"]] * 3
    low, high = confidence_interval(references, hypotheses)
    assert 0.0 <= low < 0.1 < high
    narrow_low, narrow_high = confidence_interval(references * 50, hypotheses * 50)
    assert low < narrow_low < 0.1 < narrow_high < high
    assert confidence_interval(references, hypotheses) == (low, high)
    assert confidence_interval(references, references) == (0.0, 0.0)
