"""THCHS-30: read Mandarin, in the layout of OpenSLR 18.

    data_thchs30/data/A11_0.wav.trn      绿 是 阳春 烟 景 ...     first line of three
    data_thchs30/train/A11_0.wav
    data_thchs30/train/A11_0.wav.trn     ../data/A11_0.wav.trn

Depending on how the archive was unpacked, the transcripts in `train`, `dev` and `test` are links,
or files that contain the path of the transcript.
"""

from __future__ import annotations

from pathlib import Path

from keyframe_asr.data.corpora.listing import (
    COPY_AGAIN,
    SPLITS,
    CorpusListing,
    ListedUtterance,
    PartSize,
    Split,
    check_complete,
    files_below,
    find_root,
    list_pairs,
)
from keyframe_asr.errors import KeyframeError
from keyframe_asr.io import text_file

EXPECTED: dict[Split, PartSize] = {
    "train": PartSize(10_000),
    "dev": PartSize(893),
    "test": PartSize(2_495),
}
SLIP = " l ="
"""Typing error in some transcripts."""


def read(source: Path, *, allow_incomplete: bool = False) -> CorpusListing:
    """List THCHS-30 in `source`, which is or contains `data_thchs30`.

    The speakers of the test set are unseen; those of the development set also occur in the training
    set. An incomplete copy is accepted only with `allow_incomplete`.

    Raises:
        ManifestError: the corpus is missing or incomplete.
    """
    root = find_root(source, "data_thchs30", SPLITS, "THCHS-30")
    splits: dict[Split, list[ListedUtterance]] = {}
    problems: list[str] = []
    for split in SPLITS:
        folder = root / split
        names = {name.split(".")[0] for name in files_below(folder, (".wav", ".wav.trn"))}
        recordings = {name: path for name in names if (path := _recording(folder, name))}
        texts = {name: _text(folder, name) for name in names}
        speakers = {name: name.partition("_")[0] for name in names}
        splits[split], unusable = list_pairs(texts, recordings, speakers)
        problems += unusable
    notes = check_complete(root, splits, EXPECTED, allow_incomplete)
    return CorpusListing("thchs30", "zh", splits, notes, problems)


def _recording(folder: Path, name: str) -> Path | None:
    """Find a recording; if its link is broken, it exists only in `data`."""
    places = (folder / f"{name}.wav", folder.parent / "data" / f"{name}.wav")
    return next((path for path in places if path.is_file()), None)


def _text(folder: Path, name: str) -> str:
    """Read the first line of the transcript, following its link; "" if there is none."""
    file = f"{name}.wav.trn"
    line = _first_line(folder / file)
    if line.endswith(file):
        line = _first_line(folder / line)
    return (line or _first_line(folder.parent / "data" / file)).replace(SLIP, "")


def _first_line(path: Path) -> str:
    try:
        return next(text_file.read_lines(path, COPY_AGAIN), "").strip()
    except KeyframeError:
        return ""
