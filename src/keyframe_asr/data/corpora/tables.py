"""Tables of one's own recordings: tab-separated or, with quotes as spreadsheets write them, CSV.

Columns: `path` (relative to the table) and `text`; if there are such `utt_id`, `speaker` and
`split`; all others are ignored. Lengths come from the recordings.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from keyframe_asr.data.corpora.listing import CorpusListing, ListedUtterance, Split, find_splits
from keyframe_asr.data.manifest import read_rows
from keyframe_asr.errors import ManifestError
from keyframe_asr.text.forms import Language

REQUIRED = ("path", "text")

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "dev": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
"""What the column `split` may hold."""


def read(
    source: Path,
    language: Language,
    train: str | None = None,
    dev: str | None = None,
    test: str | None = None,
) -> CorpusListing:
    """List a table with a column `split`, or a folder with a table for each split.

    In a folder the tables are called `train`, `dev` and `test` (.tsv or .csv) or by the names
    given, or there is one table `manifest` with a column `split`.

    Raises:
        ManifestError: a table is missing or has a bad line or split.
    """
    source = Path(source)
    named = (train, dev, test)
    whole = [source, source / "manifest.tsv", source / "manifest.csv"]
    table = next((one for one in whole if one.is_file()), None)
    if table is not None and not any(named):
        return CorpusListing(table.suffix[1:], language, _by_split(table))
    if source.is_file():
        raise ManifestError(f"{source}: is one table; give --train, --dev and --test a folder")
    tables = find_splits(source, named, ("{}.tsv", "{}.csv"), "table", _ONE_TABLE)
    splits = {
        split: [_utterance(row, place, file) for place, row in read_rows(file, REQUIRED)]
        for split, file in tables.items()
    }
    suffix = next(iter(tables.values())).suffix
    return CorpusListing(suffix[1:], language, splits)


_ONE_TABLE = "; or one table manifest.tsv with a column split"


def _by_split(table: Path) -> dict[Split, list[ListedUtterance]]:
    splits: dict[Split, list[ListedUtterance]] = {}
    for line, row in read_rows(table, (*REQUIRED, "split")):
        split = SPLIT_NAMES.get(row["split"])
        if split is None:
            raise ManifestError(
                f"{table}:{line}: the split is '{row['split']}'; "
                f"write one of {', '.join(SPLIT_NAMES)}"
            )
        splits.setdefault(split, []).append(_utterance(row, line, table))
    return splits


def _utterance(row: dict[str, str], line: int, table: Path) -> ListedUtterance:
    if not row["path"]:
        raise ManifestError(f"{table}:{line}: path is empty; fill it in")
    # Without its folders, a file's name is seldom unique.
    named = "-".join(PurePosixPath(row["path"]).with_suffix("").parts).lstrip("/-.")
    return ListedUtterance(
        row.get("utt_id") or named,
        row.get("speaker", ""),
        row["text"],
        table.parent / row["path"],
    )
