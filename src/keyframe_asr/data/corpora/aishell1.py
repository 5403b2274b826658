"""AISHELL-1: read Mandarin, in the layout of OpenSLR 33.

    data_aishell/transcript/aishell_transcript_v0.8.txt      BAC009S0002W0122 而 对 楼市 ...
    data_aishell/wav/S0002.tar.gz                            train/S0002/BAC009S0002W0122.wav, ...

Unpacking the archive of a speaker puts the recordings into `wav/train`, `wav/dev` or `wav/test`,
which defines the split. The corpus has 141925 recordings but 141600 transcripts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from keyframe_asr.data.corpora.download import unpack
from keyframe_asr.data.corpora.listing import (
    SPLITS,
    CorpusListing,
    ListedUtterance,
    PartSize,
    Split,
    check_complete,
    files_below,
    find_root,
    list_pairs,
    read_keyed_lines,
    some_of,
)

TRANSCRIPT = "transcript/aishell_transcript_v0.8.txt"
EXPECTED: dict[Split, PartSize] = {
    "train": PartSize(120_098, 340),
    "dev": PartSize(14_326, 40),
    "test": PartSize(7_176, 20),
}
"""Utterances with a transcript."""


def read(source: Path, *, allow_incomplete: bool = False) -> CorpusListing:
    """List AISHELL-1 in `source`, which is or contains `data_aishell`.

    Speakers still packed in `wav/S*.tar.gz` are unpacked first. An incomplete copy is accepted only
    with `allow_incomplete`.

    Raises:
        ManifestError: the corpus is missing or incomplete, or an archive cannot be unpacked.
    """
    root = find_root(source, "data_aishell", ("transcript", "wav"), "AISHELL-1")
    texts = read_keyed_lines(root / TRANSCRIPT)
    transcribed: dict[str, set[str]] = defaultdict(set)
    for name in texts:
        transcribed[_speaker(name)].add(name)
    _unpack_speakers(root / "wav", transcribed)

    splits: dict[Split, list[ListedUtterance]] = {}
    problems: list[str] = []
    speakers: set[str] = set()
    without_text = 0
    for split in SPLITS:
        recordings = _recordings(root / "wav" / split)
        present = {path.parent.name for path in recordings.values()}
        without_text += sum(name not in texts for name in recordings)
        wanted = {name: texts[name] for one in present for name in transcribed.get(one, ())}
        usable = {name: path for name, path in recordings.items() if name in texts}
        names = {name: path.parent.name for name, path in usable.items()}
        splits[split], unusable = list_pairs(wanted, usable, names)
        problems += unusable
        speakers |= present
    absent = sorted({*transcribed} - speakers)
    details = _missing(absent, problems)
    untranscribed = f"recordings without a transcript, left out: {without_text}"
    if without_text:
        details.append(untranscribed)
    notes = check_complete(root, splits, EXPECTED, allow_incomplete, details)
    if without_text and not notes:
        notes.append(untranscribed)
    return CorpusListing("aishell1", "zh", splits, notes, problems)


def _speaker(name: str) -> str:
    """BAC009S0002W0122 → S0002."""
    return name[6:11]


def _recordings(folder: Path) -> dict[str, Path]:
    """Recordings of a split, by name."""
    if not folder.is_dir():
        return {}
    speakers = sorted(path for path in folder.iterdir() if path.is_dir())
    return {
        Path(name).stem: speaker / name
        for speaker in speakers
        if not speaker.name.startswith(".")
        for name in files_below(speaker, ".wav")
    }


def _unpack_speakers(wav: Path, transcribed: dict[str, set[str]]) -> None:
    """Unpack every archive whose speaker is missing, or lacks a recording with a transcript."""
    for name in files_below(wav, ".tar.gz"):
        speaker = name.removesuffix(".tar.gz")
        present = {
            Path(recording).stem
            for split in SPLITS
            for recording in files_below(wav / split / speaker, ".wav")
        }
        if not present or transcribed.get(speaker, set()) - present:
            unpack(wav / name, wav)


def _missing(absent: list[str], problems: list[str]) -> list[str]:
    """Describe which speakers lack recordings, for the error message."""
    lines = []
    if absent:
        lines.append(f"speakers without recordings: {some_of(absent)}")
    lacking = Counter(_speaker(line) for line in problems if line.endswith("no recording"))
    if lacking:
        names = [f"{speaker} ({count})" for speaker, count in sorted(lacking.items())]
        lines.append(f"speakers that lack recordings: {some_of(names)}")
    return lines
