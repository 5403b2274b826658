"""Characters that say the same: invisible ones, apostrophes, and variants of letters and marks."""

from __future__ import annotations

import re
import unicodedata

# Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt; none of them is heard. The
# zero width space is there too, but separates words, in Khmer and Thai for instance.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

_APOSTROPHES = str.maketrans("’‘ʼ＇`´", "''''''")

_PRESENTATION = frozenset(
    ("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>", "<compat>")
)
"""Compatibility variants that differ in nothing but how they are drawn, in the blocks below."""

_COMPATIBILITY_BLOCKS = re.compile(
    "[\u013f\u0140"  # l with middle dot
    "\u2e80-\u2fdf"  # CJK radicals
    "\u3000\ufb00-\ufb17\ufb50-\ufdff\ufe70-\ufefc\uff01-\uffee]"
)
"""Characters of which some are such variants."""

_JOINED = re.compile("([ണനരലളക]\u0d4d|\u09a4\u09cd)\u200d")
"""Letters without their vowel as they were written before Unicode had one character for each."""

_JOINED_LETTERS = dict(zip(("ണ്", "ന്", "ര്", "ല്", "ള്", "ക്", "ত্"), "ൺൻർൽൾൿৎ", strict=True))

_UNHEARD = re.compile("[\u0640\u07fa\u055b\u055c\u055e]")
"""Within words: Arabic and N'Ko signs that stretch them, Armenian signs of intonation."""

_GERSHAYIM = re.compile('(?<=[\u05d0-\u05ea])["”“](?=[\u05d0-\u05ea])')
"""Quotation marks that stand for the Hebrew sign of an abbreviation."""


def without_ignorable(text: str) -> str:
    """Remove the characters that Unicode lets every program ignore; ZERO WIDTH SPACE is a space."""
    return text if text.isascii() else _IGNORABLE.sub("", text).replace("\u200b", " ")


def with_plain_apostrophes(text: str) -> str:
    """Write every apostrophe as '."""
    return text.translate(_APOSTROPHES)


def in_one_spelling(text: str) -> str:
    """Write variants of a letter or mark in one way; drop signs that only stretch or stress a word.

    Full and half width, Arabic presentation forms, ligatures, radicals, Malayalam and Bengali
    letters with joiners, and Hebrew abbreviations.
    """
    if text.isascii():
        return text
    text = _JOINED.sub(lambda found: _JOINED_LETTERS[found.group(1)], text)
    text = _COMPATIBILITY_BLOCKS.sub(lambda found: _folded_variant(found.group()), text)
    return _GERSHAYIM.sub("״", _UNHEARD.sub("", text)).replace("׳", "'")


def _folded_variant(character: str) -> str:
    tag = unicodedata.decomposition(character).partition(" ")[0]
    return unicodedata.normalize("NFKC", character) if tag in _PRESENTATION else character
