"""Word and character error rates with bootstrap confidence intervals.

Edit distance and bootstrap (Bisani and Ney, 2004, over utterances) are those of kaldialign.
Forms with spaces: words are separated by spaces; characters include the space between words, as in
ESPnet. Other forms: characters without spaces; words are single characters, with their marks, of
scripts without spaces, and runs of other characters, so that the word error rate is the mixed error
rate (MER).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import kaldialign

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.text.forms import words_of_form

BOOTSTRAP_REPLICATIONS = 10_000


@dataclass(frozen=True)
class Errors:
    """Edit operations that turn the references into the hypotheses, summed over utterances."""

    substitutions: int
    deletions: int
    insertions: int
    reference_length: int

    @property
    def total(self) -> int:
        """Sum of all three kinds."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference unit, a fraction; infinite for insertions into empty references."""
        if self.reference_length == 0:
            return 0.0 if self.total == 0 else float("inf")
        return self.total / self.reference_length


UNIT_NAMES = {"words": "WER", "characters": "CER", "mixed": "MER"}
"""Names of the error rates, by unit of the form."""


def split_words(text: str, form: TextForm) -> list[str]:
    """The words of a text; without spaces between words, every character is a word."""
    return words_of_form(text, form)


def split_characters(text: str, form: TextForm) -> list[str]:
    """The characters of a text; single spaces count if the form separates all words by them."""
    return list((" " if form.separation == "spaces" else "").join(text.split()))


def split_units(text: str, form: TextForm) -> list[str]:
    """The units of a text in which the form is scored."""
    return (split_characters if form.unit == "characters" else split_words)(text, form)


def word_errors(references: Sequence[str], hypotheses: Sequence[str], form: TextForm) -> Errors:
    """Word errors, summed over utterances."""
    return count_errors(
        [split_words(text, form) for text in references],
        [split_words(text, form) for text in hypotheses],
    )


def character_errors(
    references: Sequence[str], hypotheses: Sequence[str], form: TextForm
) -> Errors:
    """Character errors, summed over utterances."""
    return count_errors(
        [split_characters(text, form) for text in references],
        [split_characters(text, form) for text in hypotheses],
    )


def count_errors(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> Errors:
    """Errors of texts already split into units, summed over utterances."""
    counts = kaldialign.batch_error_rate(references, hypotheses)
    return Errors(
        substitutions=int(counts["sub"]),
        deletions=int(counts["del"]),
        insertions=int(counts["ins"]),
        reference_length=int(counts["ref_len"]),
    )


def aligned(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> list[tuple[str | None, str | None]]:
    """Pairs of units of the reference and of the hypothesis, with the fewest errors.

    A pair without a unit of the hypothesis is a deletion, without one of the reference an
    insertion, and with two different ones a substitution, as `count_errors` counts them.
    """
    pairs = kaldialign.align(reference, hypothesis, "")  # no unit is empty
    return [(expected or None, found or None) for expected, found in pairs]


def confidence_interval(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]], seed: int = 0
) -> tuple[float, float]:
    """95 % bootstrap confidence interval of the error rate over utterances, as fractions.

    If a resample can consist of empty references only (very few utterances), the interval is
    undefined; returns 0 to 1, or 0 to the error rate if that is higher.
    """
    result = kaldialign.bootstrap_wer_ci(
        references, hypotheses, replications=BOOTSTRAP_REPLICATIONS, seed=seed
    )
    low, high = float(result["ci95min"]), float(result["ci95max"])
    if not (math.isfinite(low) and math.isfinite(high)):
        rate = count_errors(references, hypotheses).rate
        return 0.0, max(1.0, rate) if math.isfinite(rate) else 1.0
    return max(0.0, low), high
