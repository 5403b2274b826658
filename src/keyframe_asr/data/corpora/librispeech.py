"""LibriSpeech: read English, in the layout of OpenSLR 12; also Mini LibriSpeech, OpenSLR 31.

LibriSpeech/train-clean-100/19/198/19-198.trans.txt      19-198-0000 NORTHANGER ABBEY ...
LibriSpeech/train-clean-100/19/198/19-198-0000.flac      speaker 19, chapter 198
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keyframe_asr.data.corpora.listing import (
    CorpusListing,
    ListedUtterance,
    PartSize,
    Split,
    check_complete,
    files_below,
    find_root,
    list_pairs,
    read_keyed_lines,
)
from keyframe_asr.errors import ManifestError

EXPECTED = {
    "train-clean-100": PartSize(28_539),
    "train-clean-360": PartSize(104_014),
    "train-other-500": PartSize(148_688),
    "dev-clean": PartSize(2_703),
    "dev-other": PartSize(2_864),
    "test-clean": PartSize(2_620),
    "test-other": PartSize(2_939),
}
PARTS: dict[Split, tuple[str, ...]] = {
    "train": ("train-clean-100", "train-clean-360", "train-other-500", "train-clean-5"),
    "dev": ("dev-clean", "dev-other", "dev-clean-2"),
    "test": ("test-clean", "test-other"),
}
"""Parts of each split; those of Mini LibriSpeech come last, as they are subsets of others."""
EVERY_PART = tuple(part for parts in PARTS.values() for part in parts)


def read(
    source: Path, *, parts: Sequence[str] | None = None, allow_incomplete: bool = False
) -> CorpusListing:
    """List LibriSpeech in `source`, which is or contains `LibriSpeech`.

    Args:
        source: the folder.
        parts: parts to use, each in the split of its name. The default is all of the three training
            parts that exist, and the first existing part of dev and test, usually `dev-clean` and
            `test-clean`. Parts of Mini LibriSpeech are used only if the full parts are missing. A
            split without parts is empty.
        allow_incomplete: accept parts that lack utterances.

    Raises:
        ManifestError: a part is unknown, missing or incomplete.
    """
    root = find_root(source, "LibriSpeech", EVERY_PART, "LibriSpeech")
    present = [part for part in EVERY_PART if (root / part).is_dir()]
    used = _chosen(root, present, parts) if parts is not None else _usual(present)
    found: dict[str, list[ListedUtterance]] = {}
    problems: list[str] = []
    for part in used:
        found[part], unusable = _read_part(root / part)
        problems += unusable
    expected = {part: EXPECTED[part] for part in used if part in EXPECTED}
    notes = check_complete(root, found, expected, allow_incomplete)
    splits: dict[Split, list[ListedUtterance]] = {}
    for split, names in PARTS.items():
        of_split = [part for part in names if part in found]
        splits[split] = [utterance for part in of_split for utterance in found[part]]
        notes.append(f"{split}: {' + '.join(of_split) or 'no part found'}")
    if unused := [part for part in present if part not in used]:
        notes.append(f"not used: {' '.join(unused)}")
    return CorpusListing("librispeech", "en", splits, notes, problems)


def _usual(present: Sequence[str]) -> list[str]:
    real = [part for part in PARTS["train"][:3] if part in present]
    used = real or [part for part in PARTS["train"] if part in present]
    for split in ("dev", "test"):
        used += [part for part in PARTS[split] if part in present][:1]
    return used


def _chosen(root: Path, present: Sequence[str], parts: Sequence[str]) -> list[str]:
    for part in parts:
        if part not in EVERY_PART:
            raise ManifestError(
                f"LibriSpeech has no part '{part}'; choose from {', '.join(EVERY_PART)}"
            )
        if part not in present:
            raise ManifestError(f"{root / part}: no such folder; unpack the part there")
    for mini, real in (("train-clean-5", "train-clean-100"), ("dev-clean-2", "dev-clean")):
        if mini in parts and real in parts:
            raise ManifestError(f"{mini} is a subset of {real}; leave one of them out")
    return [part for part in EVERY_PART if part in parts]


def _read_part(folder: Path) -> tuple[list[ListedUtterance], list[str]]:
    texts: dict[str, str] = {}
    recordings: dict[str, Path] = {}
    chapters = sorted(path for path in folder.glob("*/*") if path.is_dir())
    for chapter in chapters:
        for name in files_below(chapter, ".trans.txt"):
            texts |= read_keyed_lines(chapter / name)
        recordings |= {Path(name).stem: chapter / name for name in files_below(chapter, ".flac")}
    speakers = {name: path.parent.parent.name for name, path in recordings.items()}
    return list_pairs(texts, recordings, speakers)
