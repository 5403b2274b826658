"""Text for a character language model of Mandarin, from jieba's dictionary and transcripts.

    pip install jieba
    python benchmarks/mandarin_text.py TABLE.tsv... --out text.txt
    keyframe language-model text.txt --out mandarin.arpa --order 3 --unit character

There is no large text beside the recordings. jieba (MIT) brings 349,000 words with how often each
is used; words drawn by that frequency, four to nine a line, tell a language model which characters
follow one another within words, and nothing of sentences. The `train` rows of the tables, with the
columns `text` and `split`, follow: the first table ten times, as it holds sentences.
"""

from __future__ import annotations

import argparse
import csv
import random
from importlib import resources
from pathlib import Path

from keyframe_asr.han import is_han

LINES = 60_000
SENTENCES_REPEATED = 10


def drawn_words(generator: random.Random) -> list[str]:
    """Lines of words of jieba's dictionary that are written in Han characters only."""
    words, counts = [], []
    for line in (resources.files("jieba") / "dict.txt").read_text(encoding="utf-8").splitlines():
        word, count, *_ = line.split()
        if all(map(is_han, word)):
            words.append(word)
            counts.append(int(count))
    drawn = iter(generator.choices(words, counts, k=9 * LINES))
    return ["".join(next(drawn) for _ in range(generator.randint(4, 9))) for _ in range(LINES)]


def transcripts(table: Path) -> list[str]:
    """Texts of the training rows of a table."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row["text"] for row in rows if row["split"] == "train"]


def main() -> None:
    """Write the text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    first, *others = [transcripts(table) for table in given.tables]
    lines = SENTENCES_REPEATED * first + [text for texts in others for text in texts]
    lines += drawn_words(random.Random(1))
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
