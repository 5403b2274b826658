"""Error rates of recognised text: word and character edit distance, bootstrap interval.

Edit distance and bootstrap (Bisani and Ney, 2004, over utterances) come from kaldialign.
English: words are separated by spaces; characters include the space between words, as ESPnet
counts them. Mandarin: characters without spaces; words are single Han characters and runs of
other characters, so that the word error rate is the field's mixed error rate.
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
        """All three kinds together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference unit, a fraction; infinite for insertions into empty references."""
        if self.reference_length == 0:
            return 0.0 if self.total == 0 else float("inf")
        return self.total / self.reference_length


def split_words(text: str, language: Language) -> list[str]:
    """The words of a text; in Mandarin every Han character is one."""
    return text.split() if language == "english" else mixed_words(text)


def split_characters(text: str, language: Language) -> list[str]:
    """The characters of a text; single spaces between words count in English only."""
    return list((" " if language == "english" else "").join(text.split()))


def word_errors(references: Sequence[str], hypotheses: Sequence[str], language: Language) -> Errors:
    """Errors in words, summed over the utterances."""
    return count_errors(
        [split_words(text, language) for text in references],
        [split_words(text, language) for text in hypotheses],
    )


def character_errors(
    references: Sequence[str], hypotheses: Sequence[str], language: Language
) -> Errors:
    """Errors in characters, summed over the utterances."""
    return count_errors(
        [split_characters(text, language) for text in references],
        [split_characters(text, language) for text in hypotheses],
    )


def count_errors(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> Errors:
    """Errors in units already split, summed over the utterances."""
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
    """95 % bootstrap interval of the error rate, resampling utterances, as fractions.

    Where resampling can draw only empty references (a handful of utterances), nothing is known:
    the interval is then from 0 to 1, or to the error rate itself if that is higher.
    """
    result = kaldialign.bootstrap_wer_ci(
        references, hypotheses, replications=BOOTSTRAP_REPLICATIONS, seed=seed
    )
    low, high = float(result["ci95min"]), float(result["ci95max"])
    if not (math.isfinite(low) and math.isfinite(high)):
        rate = count_errors(references, hypotheses).rate
        return 0.0, max(1.0, rate) if math.isfinite(rate) else 1.0
    return max(0.0, low), high
