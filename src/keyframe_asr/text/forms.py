"""Forms of text: the normal form that training and error rates go by, and words in any script.

A normalisation has a name, which prepared corpora and models carry, so that a model is scored on
the form of text it was trained on.

Han characters are words of their own, as the scoring of Mandarin has it.
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

_HAN = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""The inside of a character class of regular expressions."""

_HAN_CHARACTER = re.compile(f"[{_HAN}]")
_WORD = re.compile(rf"[{_HAN}]|[^\s{_HAN}]+")

_APOSTROPHES = str.maketrans("’‘ʼ＇`´", "''''''")


@dataclass(frozen=True)
class Normalisation:
    """A normal form of transcripts.

    Attributes:
        name: what it is called in recipes, prepared corpora and models.
        language: whose texts it is for.
        description: what a report says of it.
        keeps_digits: whether 0-9 are symbols of the form.
    """

    name: NormalisationName
    language: Language
    description: str
    keeps_digits: bool

    def __call__(self, text: str) -> str:
        """The transcript in normal form; "" if nothing of it is left."""
        if self.language == "mandarin":
            return _normalise_mandarin(text)
        kept = "A-Z0-9'" if self.keeps_digits else "A-Z'"
        return re.sub(f"[^{kept}]+", " ", _english_letters(text)).strip()

    def lost(self, text: str) -> str:
        """Letters and digits of a transcript that are spoken but have no place in the form."""
        if self.language == "mandarin":
            return ""  # all of them are kept
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
    """Bring a transcript into a normal form, by default the one with the name of its language.

    English: upper case; accents dropped; only A-Z, the apostrophe and single spaces are kept (and
    0-9 in `english-digits`), any other character separates words. Mandarin: NFKC (full-width forms
    become ASCII), Latin letters upper-cased, spaces, punctuation, symbols and control characters
    removed.
    """
    return NORMALISATIONS[name](text)


def normalisation_for(language: Language, digits: Digits) -> Normalisation:
    """The normal form for the transcripts of a corpus.

    Where digits are refused none reach the form, so it is that of the language.
    """
    if language == "english" and digits == "keep":
        return NORMALISATIONS["english-digits"]
    return NORMALISATIONS[language]


def has_digits(text: str) -> bool:
    """Whether a number is written in digits, full-width ones included; 〇 is a word like 一."""
    return any(symbol.isdecimal() for symbol in unicodedata.normalize("NFKC", text))


def is_han(character: str) -> bool:
    """Whether one character is a Han character."""
    return _HAN_CHARACTER.match(character) is not None


def mixed_words(text: str) -> list[str]:
    """Words of a text in any script: single Han characters, and runs of other characters."""
    return _WORD.findall(text)


def _english_letters(text: str) -> str:
    """Upper case without accents."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    return "".join(symbol for symbol in decomposed if not unicodedata.combining(symbol)).upper()


def _normalise_mandarin(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).upper()
    kept = "".join(symbol for symbol in folded if unicodedata.category(symbol)[0] not in "ZPSC")
    # Where a space is gone, an accent may have come beside a letter.
    return unicodedata.normalize("NFKC", kept)
