"""Spelled words, numbers and dates for synthetic speech, and their display form.

    python -m research.spelled_text lines WORDS --out spelled.txt
    keyframe prepare synthetic-english --source spelled.txt --tokenizer MODEL --out data/spelled
    python -m research.spelled_text display data/spelled/train.jsonl.gz \
        --out data/spelled/display.jsonl.gz

WORDS has one word a line, the most frequent first, such as those of wordfreq.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from lhotse.utils import fastcopy

from keyframe_asr.data.manifest import in_language, load_manifest, save_manifest, text
from keyframe_asr.io.atomic_write import write_whole

LINES, WORDS, SEED = 700, 6000, 7
WORDS_OF_NUMBERS = """
ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE OH
TEN ELEVEN TWELVE THIRTEEN FOURTEEN FIFTEEN SIXTEEN SEVENTEEN EIGHTEEN NINETEEN
TWENTY THIRTY FORTY FIFTY SIXTY SEVENTY EIGHTY NINETY
FIRST SECOND THIRD FOURTH FIFTH SIXTH SEVENTH EIGHTH NINTH TENTH ELEVENTH TWELFTH TWENTIETH
JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER
"""
DIGITS, TEENS, TENS, ORDINALS, MONTHS = (row.split() for row in WORDS_OF_NUMBERS.split("\n")[1:-1])
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def line(words: Sequence[str], draw: random.Random) -> str:
    """Draw a spelled word, a row of digits or numbers, a date, or letters and digits."""
    number = [draw.choice(TEENS), draw.choice(TENS), f"{draw.choice(TENS)} {draw.choice(DIGITS)}"]
    two = draw.choice(number)
    kind = draw.random()
    if kind < 0.4:
        return " ".join(draw.choice(words).upper())
    if kind < 0.6:
        return " ".join(draw.choices(DIGITS, k=draw.randint(3, 7)))
    if kind < 0.72:
        return " ".join([two, *draw.choices(DIGITS + TEENS, k=draw.randint(1, 3))])
    if kind < 0.86:
        return f"{draw.choice(MONTHS)} {draw.choice(ORDINALS)} NINETEEN {two}"
    letters = draw.choices(LETTERS, k=draw.randint(1, 5))
    return " ".join([*letters, *draw.choices(DIGITS, k=draw.randint(1, 2))])


def display(said: str) -> str:
    """Write a line as a sentence: letters in a row with hyphens, months with capitals."""
    parts = []
    for single, group in groupby(said.split(), key=lambda word: len(word) == 1):
        words = [word.capitalize() if word in MONTHS else word.lower() for word in group]
        parts.append("-".join(words).upper() if single else " ".join(words))
    shown = " ".join(parts)
    return f"{shown[:1].upper()}{shown[1:]}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the lines, or the manifest in display form."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("lines", "display"))
    parser.add_argument("source", type=Path, help="word list, or manifest")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.what == "display":
        cuts = []
        for cut in load_manifest(given.source):
            said = fastcopy(cut.supervisions[0], text=display(text(cut)))
            cuts.append(in_language(fastcopy(cut, supervisions=[said]), "en"))
        save_manifest(cuts, given.out)
        return 0
    every = given.source.read_text(encoding="utf-8").split()
    usable = [word for word in every if word.isascii() and word.isalpha() and 3 <= len(word) <= 10]
    draw = random.Random(SEED)
    found = dict[str, None]()
    while len(found) < LINES:
        found[line(usable[:WORDS], draw)] = None
    write_whole(given.out, "\n".join(found) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
