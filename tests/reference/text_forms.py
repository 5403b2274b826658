"""The English and Mandarin normalisation of version 0.1: one function for each language."""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = str.maketrans("’‘ʼ＇`´", "''''''")


def english(text: str, digits: bool = False) -> str:
    """Upper case without accents; A-Z, apostrophe, single spaces, and 0-9 if wanted."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    letters = "".join(one for one in decomposed if not unicodedata.combining(one)).upper()
    return re.sub(f"[^A-Z{'0-9' if digits else ''}']+", " ", letters).strip()


def mandarin(text: str) -> str:
    """NFKC, upper case, without spaces, punctuation, symbols and control characters."""
    folded = unicodedata.normalize("NFKC", text).upper()
    kept = "".join(one for one in folded if unicodedata.category(one)[0] not in "ZPSC")
    return unicodedata.normalize("NFKC", kept)
