"""Digits in transcripts, and numbers that dropping signs would change."""

from __future__ import annotations

import re
import unicodedata

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.text.scripts import is_unspaced
from keyframe_asr.text.spelling import without_ignorable

_CLAUSE = frozenset(".,;:!?…、。،؛؟।")
"""Signs between clauses; after a letter they say nothing about the number that follows."""

_OPENING = frozenset("\"'“”„«»‘’¿¡")

_ABOUT_NUMBERS = frozenset("%‰‱°")

# classes of characters: d digit, a letter of a script with spaces, k other letters, s space,
# p sign between clauses, o opening sign, y sign of arithmetic or of a unit, x any other sign
_CHANGED = re.compile(
    r"d[sop]*[xy][sopxy]*d"  # 1/2, 10 - 5
    r"|d[sxy]*[op]+d"  # 3.5, 10:30, 1,000
    r"|(?:^|[sko])x[xop]*d"  # -5, 气温-5
    r"|y[os]*d"  # $5, +5
    r"|(?:^|s)p+d"  # .5
    r"|ds*y"  # 50 %
)
_JOINED = re.compile(r"d[sopxy]+d")
"""Without spaces, digits apart become one number: 10, 20."""


def has_digits(text: str) -> bool:
    """True if a text contains digits, full-width digits included; 〇 is a word like 一."""
    return any(symbol.isdecimal() for symbol in unicodedata.normalize("NFKC", text))


def changed_number(text: str, form: TextForm) -> str:
    """Return a number of a transcript that a form would change by dropping signs; "" if none.

    3.5 would become 35 or 3 5, -5 would become 5, 50 % would become 50, and 10² would become 102.
    """
    text = without_ignorable(text)
    for place in range(1, len(text)):
        tag = unicodedata.decomposition(text[place]).partition(" ")[0]
        if text[place - 1].isdecimal() and tag in ("<super>", "<sub>"):
            return _around(text, place - 1, place + 1)
    text = unicodedata.normalize("NFKC", text)
    classes = "".join(map(_class, text))
    found = _CHANGED.search(classes)
    if found is None and form.separation == "none":
        found = _JOINED.search(classes)
    return _around(text, found.start(), found.end()) if found else ""


def _around(text: str, start: int, end: int) -> str:
    """Return a part of a text, extended to whole numbers."""
    while start > 0 and text[start - 1].isdecimal():
        start -= 1
    while end < len(text) and text[end].isdecimal():
        end += 1
    return text[start:end].strip()


def _class(character: str) -> str:
    category = unicodedata.category(character)
    if character.isspace():
        return "s"
    if character.isdecimal():
        return "d"
    if category[0] in "LMN":
        return "k" if is_unspaced(character) else "a"
    if character in _CLAUSE:
        return "p"
    if character in _ABOUT_NUMBERS or category in ("Sc", "Sm"):
        return "y"
    return "o" if character in _OPENING or category in ("Ps", "Pe", "Pi", "Pf", "So") else "x"
