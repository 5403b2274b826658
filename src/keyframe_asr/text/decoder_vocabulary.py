"""The vocabulary of a pretrained decoder: byte-level BPE in `tokenizer.json`.

Whisper's tokens are of a hundred languages. A decoder for a few of them needs only the tokens that
may occur in their texts. Dropping the others changes no text's tokens: whatever a merge makes
within such a text is itself a part of one, and so kept. Most tokens of Latin letters are words of
other languages, which letters do not tell; a list of words does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from keyframe_asr.errors import ModelError
from keyframe_asr.text.decoder_tokenizer import (
    DecoderTokenizer,
    language_code,
)
from keyframe_asr.text.scripts import HAN, is_unspaced

Merge = tuple[str, str]

_SHARED = r"\t\n\r -@\[-`{-~\u00a0\u00b0\u00b7\u2010-\u2015\u2018-\u201f\u2026"
"""Digits, spaces, ASCII's punctuation, and typographic dashes, quotation marks and dots."""

_ASCII_LETTERS = "A-Za-z"
_LATIN = _ASCII_LETTERS + r"\u00a1-\u024f\u1e00-\u1eff\u20ac"
_CYRILLIC = r"\u0400-\u052f"
_ARABIC = r"\u0600-\u06ff\u0750-\u077f\u200c\u200d"
_DEVANAGARI = r"\u0900-\u097f\u200c\u200d"
_HAN = HAN + r"\u3000-\u303f\uff01-\uff65\uffe0-\uffe6"
_KANA = r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HANGUL = r"\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"

_OF_LATIN = (
    *("ca", "cs", "cy", "da", "de", "es", "et", "eu", "fi", "fr", "gl", "hr", "hu", "id", "is"),
    *("it", "lt", "lv", "ms", "nl", "no", "pl", "pt", "ro", "sk", "sl", "sq", "sv", "sw", "tl"),
    *("tr", "vi"),
)

_LETTERS = {
    "en": _ASCII_LETTERS,
    "zh": _HAN,
    "yue": _HAN,
    "ja": _HAN + _KANA,
    "ko": _HANGUL,
    "el": r"\u0370-\u03ff\u1f00-\u1fff",
    "he": r"\u0590-\u05ff",
    "th": r"\u0e00-\u0e7f",
    "ta": r"\u0b80-\u0bff",
    **dict.fromkeys(("be", "bg", "kk", "mk", "mn", "ru", "sr", "uk"), _CYRILLIC),
    **dict.fromkeys(("ar", "fa", "ur"), _ARABIC),
    **dict.fromkeys(("hi", "mr", "ne"), _DEVANAGARI),
    **dict.fromkeys(_OF_LATIN, _LATIN),
}
"""Letters of languages, by Whisper's code, for a character class of a regular expression."""

_AFTER_LETTERS = 0x40000
"""Code points from here on are no letters."""

_CONTINUING = bytes(range(0x80, 0xC0))
"""Bytes of UTF-8 that are not the first of a character."""


@dataclass(frozen=True)
class Pruned:
    """A smaller vocabulary.

    Attributes:
        tokenizer: of the kept tokens, renumbered.
        kept: the old id of each token.
    """

    tokenizer: DecoderTokenizer
    kept: tuple[int, ...]


def pruned(
    tokenizer: DecoderTokenizer, languages: Sequence[str], words: Iterable[str] = ()
) -> Pruned:
    """Keep only the tokens that may occur in texts of some languages.

    All single bytes stay, so any other text can still be spelled. Of the symbols, those stay that
    a prompt for one of the languages needs, and the end. The order of the tokens stays.

    Args:
        tokenizer: of the decoder.
        languages: BCP 47.
        words: if there are any, tokens of several letters that none of them needs go, too, also
            those that only other spellings than small letters and a capital in front need. Scripts
            without spaces between words, such as Han, are left out of this.

    Raises:
        ModelError: the decoder does not know a language, or its letters are not known here.
    """
    whole, vocabulary, merges = _parsed(tokenizer.content())
    prompts = tokenizer.symbols(languages)
    characters = _Characters(_alphabet(tokenizer, languages))
    letters = _bytes_of_letters()
    symbols = {one["content"]: int(one["id"]) for one in whole["added_tokens"]}
    parts = {left + right: (left, right) for left, right in merges}
    needed = _needed(tokenizer, words, vocabulary)

    def stays(token: str) -> bool:
        part = bytes(letters[one] for one in token)
        if len(part) < 2:  # Whisper has an empty token, too
            return len(part) == 1
        is_dropped = needed and token not in needed and _is_of_letters(part)
        return not is_dropped and characters.may_contain(part)

    chosen = (token for token in vocabulary if token not in symbols and stays(token))
    ordered = sorted(_with_parts(chosen, parts), key=vocabulary.__getitem__)
    kept = {token: vocabulary[token] for token in ordered}
    old = sorted([*kept.values(), *(symbols[name] for name in prompts)])
    new = {number: place for place, number in enumerate(old)}
    added = [one for one in whole["added_tokens"] if one["content"] in prompts]
    model = whole["model"] | {
        "vocab": {token: new[number] for token, number in kept.items()},
        "merges": [f"{left} {right}" for left, right in merges if left + right in kept],
    }
    whole |= {
        "added_tokens": [one | {"id": new[one["id"]]} for one in added],
        "post_processor": None,  # has ids of symbols
        "model": model,
    }
    return Pruned(DecoderTokenizer(_compact(whole), len(old)), tuple(old))


class _Characters:
    """Tells which bytes may be a part of a text of these characters in UTF-8."""

    def __init__(self, alphabet: str) -> None:
        self._whole = frozenset(alphabet)
        encoded = [one.encode() for one in alphabet]
        self._beginnings = {one[:end] for one in encoded for end in range(1, len(one))}
        self._ends = {one[start:] for one in encoded for start in range(1, len(one))}
        self._inner = {end[:size] for end in self._ends for size in range(1, len(end) + 1)}

    def may_contain(self, part: bytes) -> bool:
        rest = part.lstrip(_CONTINUING)
        head = part[: len(part) - len(rest)]
        if not rest:
            return head in self._inner
        text = rest.decode(errors="ignore")
        tail = rest.removeprefix(text.encode())
        return (
            (not head or head in self._ends)
            and self._whole.issuperset(text)
            and (not tail or tail in self._beginnings)
        )


def _alphabet(tokenizer: DecoderTokenizer, languages: Sequence[str]) -> str:
    codes = [language_code(one) for one in languages]
    if unknown := [code for code in codes if code not in _LETTERS]:
        known = ", ".join(sorted(_LETTERS))
        raise ModelError(f"the letters of '{unknown[0]}' are not known; choose from {known}")
    for language in languages:
        tokenizer.prompt(language)
    wanted = "".join([_SHARED, *(_LETTERS[code] for code in codes)])
    return "".join(re.findall(f"[{wanted}]", "".join(map(chr, range(_AFTER_LETTERS)))))


def _needed(
    tokenizer: DecoderTokenizer, words: Iterable[str], vocabulary: dict[str, int]
) -> set[str]:
    """The tokens of these words, with and without a space in front."""
    names = {number: token for token, number in vocabulary.items()}
    forms = {form for word in words for form in (word, word.lower(), word.lower().capitalize())}
    return {
        names[token]
        for form in forms
        for before in ("", "(")  # after a space, and after a mark
        for token in tokenizer.encode(before + form)
    }


def _with_parts(tokens: Iterable[str], parts: dict[str, Merge]) -> set[str]:
    """Add what tokens are merged of."""
    found = set(tokens)
    open_ = list(found)
    while open_:
        for part in parts.get(open_.pop(), ()):
            if part not in found:
                found.add(part)
                open_.append(part)
    return found


def _is_of_letters(part: bytes) -> bool:
    text = part.decode(errors="replace").removeprefix(" ")
    return len(text) > 1 and text.isalpha() and not is_unspaced(text)


def _bytes_of_letters() -> dict[str, int]:
    """The byte for which each letter of a token stands, as in GPT-2."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [one for one in range(0x100) if one not in shown]
    moved = {chr(0x100 + place): one for place, one in enumerate(others)}
    return {chr(one): one for one in shown} | moved


def with_lost_merges(content: bytes) -> bytes:
    """Add the merges that a `tokenizer.json` has lost; without any, return it as it is.

    Many copies of Whisper's lack its first merge, of a space and "t": its list has no heading, and
    what was left out as the heading was this. Without it " the" is two tokens, which the decoder
    never saw together. A token of two letters can only come of these, so its merge can be restored;
    merges are in the order of their tokens.

    Raises:
        ModelError: the content is not that of byte-level BPE.
    """
    whole, vocabulary, merges = _parsed(content)
    made = {left + right for left, right in merges}
    lost = [token for token in vocabulary if len(token) == 2 and token not in made]
    if not lost:
        return content
    for token in lost:
        later = (
            place
            for place, (left, right) in enumerate(merges)
            if vocabulary[left + right] > vocabulary[token]
        )
        merges.insert(next(later, len(merges)), (token[0], token[1]))
    whole["model"]["merges"] = [" ".join(merge) for merge in merges]
    return _compact(whole)


def _parsed(content: bytes) -> tuple[dict[str, Any], dict[str, int], list[Merge]]:
    """The whole file, ids of the tokens, and merges."""
    try:
        whole = json.loads(content)
        model = whole["model"]
        return whole, dict(model["vocab"]), [_merge(one) for one in model["merges"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the pretrained decoder's tokenizer is not byte-level BPE ({error}); give Whisper's "
            "tokenizer.json"
        ) from None


def _compact(whole: dict[str, Any]) -> bytes:
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def _merge(stored: str | list[str]) -> Merge:
    """A merge, which newer files store as two texts, older ones as one with a space between."""
    left, right = stored.split(" ") if isinstance(stored, str) else stored
    return left, right
