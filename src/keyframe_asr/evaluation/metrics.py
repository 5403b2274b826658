"""Word and character error rates with bootstrap confidence intervals.

Edit distance and bootstrap (Bisani and Ney, 2004, over utterances) are those of kaldialign.
English: words are separated by spaces; characters include the space between words, as in ESPnet.
Mandarin: characters without spaces; words are single Han characters and runs of other characters,
so the word error rate is the mixed error rate (MER).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import kaldialign

from keyframe_asr.text.forms import Language, mixed_words

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


def split_words(text: str, language: Language) -> list[str]:
    """The words of a text; in Mandarin every Han character is a word."""
    return text.split() if language == "english" else mixed_words(text)


def split_characters(text: str, language: Language) -> list[str]:
    """The characters of a text; single spaces between words count in English only."""
    return list((" " if language == "english" else "").join(text.split()))


def word_errors(references: Sequence[str], hypotheses: Sequence[str], language: Language) -> Errors:
    """Word errors, summed over utterances."""
    return count_errors(
        [split_words(text, language) for text in references],
        [split_words(text, language) for text in hypotheses],
    )


def character_errors(
    references: Sequence[str], hypotheses: Sequence[str], language: Language
) -> Errors:
    """Character errors, summed over utterances."""
    return count_errors(
        [split_characters(text, language) for text in references],
        [split_characters(text, language) for text in hypotheses],
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
