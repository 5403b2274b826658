"""Names of text forms, tokens and languages; kept light, because the command line imports them."""

from __future__ import annotations

import re
from typing import Literal, get_args

TextFormName = Literal[
    "english",
    "english-digits",
    "mandarin",
    "mandarin-english",
    "generic",
    "turkish",
    "characters",
    "mixed",
]
"""Text forms that are known by name; their fields are in `keyframe_asr.config.text_form`."""

TEXT_FORM_NAMES: tuple[TextFormName, ...] = get_args(TextFormName)

Separation = Literal["spaces", "none", "mixed"]
"""What separates words in a text form."""

Digits = Literal["refuse", "keep"]

Units = Literal["characters", "unigram", "bpe", "mixed"]
"""Units of a tokenizer: characters, sentencepiece's pieces, or Han characters and pieces."""

_ALIASES = {"english": "en", "mandarin": "zh"}

_TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*(?:\+[A-Za-z]{2,3}(?:[-_]\w{1,8})*)*")
"""Loosely BCP 47. Registered languages have two or three letters; `+` joins several languages."""

_CHINESE = frozenset(
    ["zh", "cmn", "yue", "wuu", "nan", "hak", "gan", "hsn", "cdo", "cjy", "mnp", "lzh"]
)
_UNSPACED = frozenset(["ja", "th", "lo", "km", "my", "bo", "dz", "ii", "nod", "shn"])
_DOTLESS = frozenset(["tr", "az", "crh"])


def language_tag(given: str) -> str:
    """Return the tag of a language in its usual spelling: `DE_de` is `de-DE`.

    `english` and `mandarin` stand for `en` and `zh`.

    Raises:
        ValueError: it is not a tag.
    """
    tag = _ALIASES.get(given.lower(), given)
    if _TAG.fullmatch(tag) is None:
        raise ValueError(
            f"'{given}' is not a language tag; give one of two or three letters, such as en, de, "
            "ja or zh-TW, or zh+en for speech in both"
        )
    return "+".join(map(_usual_spelling, tag.split("+")))


def _usual_spelling(tag: str) -> str:
    """Write a tag as BCP 47 recommends: language, `Script`, `REGION`, all else in small letters."""
    language, *others = tag.replace("_", "-").lower().split("-")
    cased = {2: str.upper, 4: str.title}
    return "-".join([language, *(cased.get(len(part), str.lower)(part) for part in others)])


def default_form_name(tag: str) -> TextFormName:
    """Return the name of the text form for a language, given as a tag."""
    subtags = [re.split("[-_]", one.lower()) for one in tag.split("+")]
    spoken = {one[0] for one in subtags}
    if spoken & _CHINESE:
        # zh-en names no region; corpora of code-switching are called so
        alone = spoken <= _CHINESE and subtags[0][1:2] != ["en"]
        return "mandarin" if alone else "mandarin-english"
    if spoken == {"en"}:
        return "english"
    if spoken & _UNSPACED:
        return "characters" if spoken <= _UNSPACED else "mixed"
    return "turkish" if spoken <= _DOTLESS else "generic"
