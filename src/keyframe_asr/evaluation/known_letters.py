"""Whether a model can write the letters of reference texts, or they are of another language."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.text.forms import normaliser
from keyframe_asr.text.tokenizer import Tokenizer

MOST_UNKNOWN = 0.5
"""Share of unknown letters beyond which texts are taken for another language's."""


@dataclass(frozen=True)
class UnknownLetters:
    """Letters of texts that a model cannot write.

    Attributes:
        share: of all letters, in [0, 1].
        script: Unicode name of the script of most of them, such as "CJK"; "" if there are none.
    """

    share: float
    script: str

    @property
    def other_language(self) -> bool:
        """True if most letters are unknown."""
        return self.share > MOST_UNKNOWN


def unknown_letters(texts: Iterable[str], form: TextForm, tokenizer: Tokenizer) -> UnknownLetters:
    """Count the letters of texts that the form drops or the tokenizer does not know."""
    normalise = normaliser(form)
    counts = Counter(letter for text in texts for letter in text if letter.isalpha())
    unknown: Counter[str] = Counter()
    for letter, count in counts.items():
        written = normalise(letter)
        if not written or any(tokenizer.unknown(written)):
            unknown[unicodedata.name(letter, "UNNAMED").split()[0]] += count
    script = max(unknown, key=lambda name: unknown[name], default="")
    return UnknownLetters(unknown.total() / max(1, counts.total()), script)
