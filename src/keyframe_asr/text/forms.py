"""Text normalisation, and splitting text in any script into words.

Prepared corpora and models store the name of their normalisation, so that a model is scored on the
form of text it was trained on. Each Han character counts as a word, as is usual in scoring
Mandarin.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from keyframe_asr.config.model import NormalisationName

Language = Literal["english", "mandarin"]
Digits = Literal["refuse", "keep"]

Units = Literal["characters", "unigram", "bpe"]
"""Units of a tokenizer: characters, or sentencepiece's pieces."""

_HAN = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Ranges for a character class of a regular expression."""

_HAN_CHARACTER = re.compile(f"[{_HAN}]")
_WORD = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")

_APOSTROPHES = str.maketrans("’‘ʼ＇`´", "''''''")


@dataclass(frozen=True)
class Normalisation:
    """A normal form of transcripts.

    Attributes:
        name: its name in recipes, prepared corpora and models.
        language: language of the texts.
        description: for reports.
        keeps_digits: True if 0-9 are kept.
    """

    name: NormalisationName
    language: Language
    description: str
    keeps_digits: bool

    def __call__(self, text: str) -> str:
        """Return the transcript in normal form; "" if nothing is left."""
        if self.language == "mandarin":
            return _normalise_mandarin(text)
        kept = "A-Z0-9'" if self.keeps_digits else "A-Z'"
        return re.sub(f"[^{kept}]+", " ", _english_letters(text)).strip()

    def lost(self, text: str) -> str:
        """Return the letters and digits of a transcript that the normal form drops."""
        if self.language == "mandarin":
            return ""  # the form keeps all of them
        normal = set(self(text))
        lost = (one for one in _english_letters(text) if one.isalnum() and one not in normal)
        return "".join(dict.fromkeys(lost))


NORMALISATIONS: dict[NormalisationName, Normalisation] = {
    one.name: one
    for one in (
        Normalisation(
            "english",
            "english",
            "upper case; only A-Z, apostrophe and single spaces; spaces count as characters",
            keeps_digits=False,
        ),
        Normalisation(
            "english-digits",
            "english",
            "upper case; only A-Z, 0-9, apostrophe and single spaces; spaces count as characters",
            keeps_digits=True,
        ),
        Normalisation(
            "mandarin",
            "mandarin",
            "NFKC, upper case, no spaces or punctuation; each Han character is a word",
            keeps_digits=True,
        ),
    )
}


def normalise_text(text: str, name: NormalisationName) -> str:
    """Normalise a transcript.

    English: upper case, without accents; only A-Z, the apostrophe and single spaces are kept (and
    0-9 in `english-digits`), any other character separates words. Mandarin: NFKC (full-width forms
    become ASCII), Latin letters in upper case, without spaces, punctuation, symbols and control
    characters.
    """
    return NORMALISATIONS[name](text)


def normalisation_for(language: Language, digits: Digits) -> Normalisation:
    """Return the normalisation for the transcripts of a corpus.

    If transcripts with digits are refused, no digit is left to keep or drop.
    """
    if language == "english" and digits == "keep":
        return NORMALISATIONS["english-digits"]
    return NORMALISATIONS[language]


def has_digits(text: str) -> bool:
    """True if a text contains digits, full-width digits included; 〇 is a word like 一."""
    return any(symbol.isdecimal() for symbol in unicodedata.normalize("NFKC", text))


def is_han(character: str) -> bool:
    """True if the character is a Han character."""
    return _HAN_CHARACTER.match(character) is not None


def mixed_words(text: str) -> list[str]:
    """Split a text in any script into words: single Han characters, and runs of others."""
    return _WORD.findall(text)


def _english_letters(text: str) -> str:
    """Upper case without accents."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    return "".join(symbol for symbol in decomposed if not unicodedata.combining(symbol)).upper()


def _normalise_mandarin(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).upper()
    kept = "".join(symbol for symbol in folded if unicodedata.category(symbol)[0] not in "ZPSC")
    # removing a space can put a combining accent next to a letter
    return unicodedata.normalize("NFKC", kept)
