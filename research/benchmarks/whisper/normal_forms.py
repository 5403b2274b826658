"""Forms in which the texts of all systems and the references are compared, fair to whisper.

`mandarin`: numbers, dates and percentages are spelled out (cn2an), characters are simplified
(opencc), punctuation and spaces go; units are characters, letters upper case.

`english`: whisper's own normaliser (numbers in digits, spelling, contractions, hesitations); then
every digit is a word, so that "351", "3 5 1" and "three five one" are the same.

`spelled`, for recordings of spelled words and numbers, such as AN4: units are single digits,
letters, and words. Numbers are read as in `english`, but "eighteenth" is 18, and "oh", "o" and
"zero" are the same. A word of the hypothesis counts in whichever way makes the fewest errors: as
one word, letter by letter ("Cindy" or "C-I-N-D-Y" for C I N D Y), or as the letter or digit that
is said like it ("see" for C, "for" for 4).
"""

from __future__ import annotations

import functools
import re
import subprocess
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.evaluation.metrics import count_errors, split_characters, split_units
from keyframe_asr.text.forms import normalise_text

SPELL_OUT = Path(__file__).parent / "spell_out_mandarin.py"

SAID_LIKE = {
    **dict.fromkeys(("ay", "eh"), "a"),
    **dict.fromkeys(("be", "bee"), "b"),
    **dict.fromkeys(("see", "sea"), "c"),
    **dict.fromkeys(("dee",), "d"),
    **dict.fromkeys(("ee",), "e"),
    **dict.fromkeys(("ef", "eff"), "f"),
    **dict.fromkeys(("gee",), "g"),
    **dict.fromkeys(("aitch", "age"), "h"),
    **dict.fromkeys(("eye", "aye"), "i"),
    **dict.fromkeys(("jay",), "j"),
    **dict.fromkeys(("kay", "cay"), "k"),
    **dict.fromkeys(("el", "ell"), "l"),
    **dict.fromkeys(("em",), "m"),
    **dict.fromkeys(("en",), "n"),
    **dict.fromkeys(("owe",), "0"),
    **dict.fromkeys(("pea", "pee"), "p"),
    **dict.fromkeys(("cue", "queue"), "q"),
    **dict.fromkeys(("ar", "are"), "r"),
    **dict.fromkeys(("es", "ess"), "s"),
    **dict.fromkeys(("tea", "tee"), "t"),
    **dict.fromkeys(("you", "ewe"), "u"),
    **dict.fromkeys(("vee",), "v"),
    **dict.fromkeys(("ex",), "x"),
    **dict.fromkeys(("why", "wye"), "y"),
    **dict.fromkeys(("zee", "zed"), "z"),
    **dict.fromkeys(("won",), "1"),
    **dict.fromkeys(("to", "too"), "2"),
    **dict.fromkeys(("for",), "4"),
    **dict.fromkeys(("ate",), "8"),
}
"""Words that sound like the name of a letter or digit."""

_TOGETHER = ((r"\bdouble[\s-]*(u|you)\b", "w"), (r"\brub[\s-]+out\b", "rubout"))
"""Several words for one letter or word."""

Word = Sequence[Sequence[str]]
"""The ways in which a word can be read, each some units."""


def mandarin_units(texts: Sequence[str], peer_python: str) -> list[list[str]]:
    """The characters of texts; `peer_python` has cn2an and opencc."""
    spelled = subprocess.run(
        [peer_python, str(SPELL_OUT)],
        input="\n".join(" ".join(one.split()) for one in texts),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    form = TEXT_FORMS["mandarin"]
    return [split_characters(normalise_text(one, form), form) for one in spelled]


def english_units(text: str) -> list[str]:
    """The words of a text, and its digits."""
    # the normaliser would drop leading zeros
    text = re.sub(r"\b0\d+", lambda one: " ".join(one[0]), text)
    words = []
    for word in _english_normaliser()(text).split():
        word = "1" if word == "one" else word  # left by the normaliser, to which it is a pronoun
        words += list(word) if word.isdecimal() else [word]
    return words


def spelled_units(text: str) -> list[str]:
    """The words, letters and digits of a reference whose spelled letters stand apart."""
    return [_letter(one) for one in _spelled_words(text)]


def spelled_readings(text: str) -> list[Word]:
    """The words of a hypothesis, each in all ways in which it can be read."""
    return [_readings(one) for one in _spelled_words(text)]


def fewest_errors(reference: Sequence[str], words: Sequence[Word]) -> int:
    """Errors of a hypothesis with the reading of each word that makes the fewest."""
    row = list(range(len(reference) + 1))
    for readings in words:
        rows = [_advanced(row, reading, reference) for reading in readings]
        row = [min(costs) for costs in zip(*rows, strict=True)]
    return row[-1]


def count_each(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> list[int]:
    """Errors of each text."""
    return [
        count_errors([one], [other]).total
        for one, other in zip(references, hypotheses, strict=True)
    ]


def words_written(text: str) -> int:
    """Number of words and Han characters of a text in any language."""
    form = TEXT_FORMS["mandarin-english"]
    return len(split_units(normalise_text(text, form), form))


def _advanced(row: list[int], units: Sequence[str], reference: Sequence[str]) -> list[int]:
    """A row of the edit distance, one entry per prefix of the reference, after more units."""
    for unit in units:
        after = [row[0] + 1]
        for place, expected in enumerate(reference):
            after.append(min(row[place] + (unit != expected), row[place + 1] + 1, after[place] + 1))
        row = after
    return row


def _readings(word: str) -> Word:
    if word.isdecimal():
        return [list(word)]
    found = [[_letter(word)]]
    if len(word) > 1:
        found.append([_letter(letter) for letter in word])
    if word in SAID_LIKE:
        found.append([SAID_LIKE[word]])
    return found


def _spelled_words(text: str) -> list[str]:
    """Words, letters and single digits of a text."""
    text = unicodedata.normalize("NFKC", text).lower()
    for pattern, word in _TOGETHER:
        text = re.sub(pattern, word, text)
    # digits are left as they are: of a number, the reader would drop leading zeros
    parts = re.split(r"(\d+)(?:st|nd|rd|th)?", " ".join(re.findall(r"[^\W_]+", text)))
    parts[::2] = [_number_reader()(words) for words in parts[::2]]
    text = re.sub(r"(?<=\d)(st|nd|rd|th)\b", "", " ".join(parts))
    return re.findall(r"[^\W\d_]+|\d", re.sub(r"\bone\b", "1", text))


def _letter(word: str) -> str:
    return "0" if word == "o" else word


@functools.cache
def _english_normaliser() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    normaliser: Callable[[str], str] = EnglishTextNormalizer({})
    return normaliser


@functools.cache
def _number_reader() -> Callable[[str], str]:
    from transformers.models.whisper.english_normalizer import EnglishNumberNormalizer

    reader: Callable[[str], str] = EnglishNumberNormalizer()
    return reader
