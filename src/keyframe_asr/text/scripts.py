"""Which characters are Han: each is a word of its own, as the scoring of Mandarin has it."""

from __future__ import annotations

import re

HAN = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""The inside of a character class of regular expressions."""

_HAN_CHARACTER = re.compile(f"[{HAN}]")
_WORD = re.compile(rf"[{HAN}]|[^\s{HAN}]+")


def is_han(character: str) -> bool:
    """Whether one character is a Han character."""
    return _HAN_CHARACTER.match(character) is not None


def mixed_words(text: str) -> list[str]:
    """Words of a text in any script: single Han characters, and runs of other characters."""
    return _WORD.findall(text)
