"""Comparison of two outputs: against a slow twin, against kaldialign, and on few utterances."""

from __future__ import annotations

import random
from dataclasses import astuple

import kaldialign
import pytest

from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.evaluation.comparison import (
    FEWEST_DIFFERING,
    Comparison,
    compare,
    compare_errors,
)

ENGLISH = TEXT_FORMS["english"]


def slow_interval(
    errors_a: list[int], errors_b: list[int], lengths: list[int]
) -> tuple[float, float]:
    """Draw utterances one by one, compute both error rates, and sort the differences."""
    generator = random.Random(5)
    differences = []
    for _ in range(4000):
        drawn = [generator.randrange(len(lengths)) for _ in lengths]
        size = sum(lengths[place] for place in drawn)
        rate_a, rate_b = (
            sum(errors[place] for place in drawn) / size for errors in (errors_a, errors_b)
        )
        differences.append(rate_b - rate_a)
    differences.sort()
    return differences[100], differences[3900]


def made_counts(count: int, seed: int, gain: int) -> tuple[list[int], list[int], list[int]]:
    generator = random.Random(seed)
    lengths = [generator.randint(3, 15) for _ in range(count)]
    errors_a = [generator.randint(0, size) for size in lengths]
    errors_b = [max(0, errors - generator.randint(0, gain)) for errors in errors_a]
    return errors_a, errors_b, lengths


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_is_that_of_a_slow_twin(seed: int) -> None:
    counts = made_counts(60, seed, gain=2)
    found = compare_errors(*counts)
    low, high = slow_interval(*counts)
    width = high - low
    assert found.low == pytest.approx(low, abs=0.1 * width)
    assert found.high == pytest.approx(high, abs=0.1 * width)
    errors_a, errors_b, lengths = counts
    assert found.difference == pytest.approx((sum(errors_b) - sum(errors_a)) / sum(lengths))


def test_it_agrees_with_kaldialign_on_which_is_better() -> None:
    generator = random.Random(2)
    references = [[generator.choice("ABCDE") for _ in range(8)] for _ in range(100)]

    def damaged(chance: float) -> list[list[str]]:
        return [
            [generator.choice("XYZ") if generator.random() < chance else unit for unit in one]
            for one in references
        ]

    bad, good = damaged(0.4), damaged(0.2)
    text, text_bad, text_good = (
        [" ".join(one) for one in some] for some in (references, bad, good)
    )
    found = compare(text, text_bad, text_good, ENGLISH)
    assert found.better == "b"
    assert kaldialign.bootstrap_wer_ci(references, bad, good)["p_s2_improv_over_s1"] > 0.99
    back = compare(text, text_good, text_bad, ENGLISH)
    assert back.better == "a"
    assert astuple(back)[:3] == pytest.approx((-found.difference, -found.high, -found.low))


def test_equal_outputs_do_not_differ() -> None:
    texts = ["ONE TWO", "THREE"]
    assert compare(texts, texts, texts, ENGLISH) == Comparison(0.0, 0.0, 0.0, None)


def test_texts_are_brought_into_the_form() -> None:
    references = ["one, two"] * 9
    assert compare(references, ["ONE TWO"] * 9, ["one two!"] * 9, ENGLISH).difference == 0
    assert compare(["你好"] * 9, ["你"] * 9, ["你 好"] * 9, TEXT_FORMS["mandarin"]).better == "b"


@pytest.mark.parametrize("count", [1, FEWEST_DIFFERING - 1, FEWEST_DIFFERING])
def test_few_utterances_show_nothing(count: int) -> None:
    found = compare_errors([2] * count, [1] * count, [4] * count)
    assert found.difference == found.low == found.high == -0.25
    assert found.better == ("b" if count >= FEWEST_DIFFERING else None)


def test_many_equal_utterances_do_not_hide_how_few_differ() -> None:
    same = [0] * 500
    found = compare_errors([9] * 5 + same, [0] * 5 + same, [9] * 505)
    assert found.high < 0
    assert found.better is None


@pytest.mark.parametrize("sizes", [[1], [0, 0]], ids=["fewer", "empty"])
def test_counts_of_other_utterances_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError):
        compare_errors([1, 2], [1, 1], sizes)


def test_the_same_seed_gives_the_same_interval() -> None:
    counts = made_counts(2500, 9, gain=1)
    assert compare_errors(*counts) == compare_errors(*counts)
    assert compare_errors(*counts) != compare_errors(*counts, seed=1)


@pytest.mark.parametrize("better", ["a", "b", None])
def test_the_description_names_the_better_output(better: str | None) -> None:
    found = {
        "a": Comparison(0.012, 0.004, 0.021, "a"),
        "b": Comparison(-0.012, -0.021, -0.004, "b"),
        None: Comparison(-0.001, -0.004, 0.002, None),
    }[better]
    said = found.described("first", "second")
    assert ("first" in said, "second" in said) == (better == "a", better != "a")
    assert ("1.2" in said and "0.4-2.1" in said) == (better is not None)
