"""Scripts: characters that belong together, and words of text in any script.

Han, kana, Thai, Lao, Khmer, Myanmar and Tibetan are written without spaces between words. There, a
character with its marks counts as a word, as is usual in scoring; runs of other characters are
words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

HAN = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Ranges for a character class of a regular expression."""

_UNSPACED = (
    HAN
    + r"\u3005-\u3007\u3021-\u3029\u3038-\u303c"  # 々 〇 and Hangzhou numerals
    + r"\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"
    + r"\u3105-\u312f\u31a0-\u31bf"  # Bopomofo
    + r"\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai, without its digits
    + r"\u0e81-\u0ece\u0edc-\u0edf"  # Lao
    + r"\u0f40-\u0fbc"  # Tibetan
    + r"\u1000-\u103f\u1050-\u108f\u109a-\u109d\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f"  # Myanmar
    + r"\u1780-\u17d3\u17d7\u17dc\u17dd"  # Khmer
    + r"\u1950-\u1974\u1980-\u19c9\u1a20-\u1a7c"  # Tai Le, New Tai Lue, Tai Tham
)

_HAN_CHARACTER = re.compile(f"[{HAN}]")
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")

_TAKEN_IN = "\u0e33\u0eb3\u0f0b\u0f0c"
"""Thai and Lao AM, letters that are written upon the one before them; the Tibetan signs that end a
syllable."""

_STACKING = "\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d\u1039\u17d2\u1a60"
"""Signs that join the next consonant to the one before them."""


def is_han(character: str) -> bool:
    """True if the character is a Han character."""
    return _HAN_CHARACTER.match(character) is not None


def is_unspaced(text: str) -> bool:
    """True if the first character belongs to a script without spaces between words."""
    return _UNSPACED_CHARACTER.match(text) is not None


def joins_previous(character: str, previous: str) -> bool:
    """True if a character is written upon or within the one before it, such as a mark."""
    if not previous or previous[-1].isspace():
        return False
    if unicodedata.category(character)[0] == "M" or character in _TAKEN_IN:
        return True
    return previous[-1] in _STACKING and character.isalpha()


def is_wide(text: str) -> bool:
    """True if the first character is as wide as a Han character."""
    return bool(text) and unicodedata.east_asian_width(text[0]) in "WF"


def closes(text: str) -> bool:
    """True if a text is punctuation that belongs to the word before it, such as `,` or `。`."""
    return bool(text) and all(map(_closes, text))


def opens(text: str) -> bool:
    """True if a text is punctuation that belongs to the word after it, such as `《` or `(`."""
    return bool(text) and all(map(_opens, text))


def _closes(character: str) -> bool:
    # an apostrophe may also begin a word; ⁇ stands for a spoken token that is unknown
    if character in "'⁇" or is_unspaced(character):
        return False
    return unicodedata.category(character) in ("Pd", "Pe", "Pf", "Po")


def _opens(character: str) -> bool:
    return unicodedata.category(character) in ("Ps", "Pi")


def clusters(text: str) -> list[str]:
    """Split a text into characters with their marks."""
    found: list[str] = []
    for character in text:
        if found and joins_previous(character, found[-1]):
            found[-1] += character
        else:
            found.append(character)
    return found


def mixed_words(text: str) -> list[str]:
    """Split a text in any script into words.

    Words are single characters, with their marks, of scripts without spaces, and runs of other
    characters.
    """
    if text.isascii():
        return text.split()
    found: list[str] = []
    joins = open_ = False  # the last word may get more letters, or more marks
    for character in text:
        space, mark, alone = _KINDS[character]
        if space:
            joins = open_ = False
        elif open_ and (mark or (found[-1][-1] in _STACKING and character.isalpha())):
            found[-1] += character
        else:
            if joins and not alone:
                found[-1] += character
            else:
                found.append(character)
            joins, open_ = not alone, True
    return found


class _Kinds(dict[str, tuple[bool, bool, bool]]):
    """Whether a character is a space, is a mark, and belongs to a script without spaces."""

    def __missing__(self, character: str) -> tuple[bool, bool, bool]:
        mark = joins_previous(character, "a")
        kinds = self[character] = (character.isspace(), mark, is_unspaced(character))
        return kinds


_KINDS = _Kinds()


def mixed_text(texts: Sequence[str]) -> str:
    """Join texts with spaces, but without any next to a script without spaces.

    Nor after its punctuation, which is as wide as its characters.
    """
    joined = ""
    for text in texts:
        unspaced = is_unspaced(text) or is_wide(joined[-1:])
        if joined and not unspaced:
            unspaced = is_unspaced(clusters(joined[-8:])[-1])
        joined += text if unspaced or not joined else f" {text}"
    return joined


def spaces_before(words: Sequence[str], text: str) -> list[bool]:
    """Tell for each word whether there is a space before it in a text.

    Where the words do not follow one another in the text, there is one, but not next to characters
    of scripts without spaces.
    """
    spaces: list[bool] = []
    place = 0
    for number, word in enumerate(words):
        found = text.find(word, place)
        between = text[place:found] if found >= 0 else "?"
        if between.strip():
            before = clusters(words[number - 1][-8:])[-1] if number else ""
            spaces.append(bool(before) and not is_unspaced(before) and not is_unspaced(word))
        else:
            spaces.append(bool(between))
            place = found + len(word)
    return spaces
