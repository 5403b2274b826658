"""Normal form of transcripts: what training sees and what error rates are computed on."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Language = Literal["english", "mandarin"]

_NOT_ENGLISH = re.compile(r"[^A-Z']+")
_APOSTROPHES = str.maketrans("’‘ʼ＇`´", "''''''")


def normalise_text(text: str, language: Language) -> str:
    """Bring a transcript into the normal form of its language.

    English: upper case; accents dropped; only A-Z, the apostrophe and single spaces are kept, any
    other character separates words. Mandarin: NFKC (full-width forms become ASCII), Latin letters
    upper-cased, spaces, punctuation, symbols and control characters removed.
    """
    if language == "english":
        return _normalise_english(text)
    return _normalise_mandarin(text)


def _normalise_english(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    letters = "".join(symbol for symbol in decomposed if not unicodedata.combining(symbol))
    return _NOT_ENGLISH.sub(" ", letters.upper()).strip()


def _normalise_mandarin(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).upper()
    return "".join(symbol for symbol in folded if unicodedata.category(symbol)[0] not in "ZPSC")
