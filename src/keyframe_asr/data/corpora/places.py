"""Where the splits of a corpus in a general format lie: as the user names them, or as is usual."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keyframe_asr.data.corpora.layout import SPLITS
from keyframe_asr.data.corpora.listing import Split
from keyframe_asr.errors import ManifestError


def find_splits(
    source: Path, named: Sequence[str | None], usual: Sequence[str], what: str, hint: str = ""
) -> dict[Split, Path]:
    """The folder or file of each split that there is.

    Args:
        source: folder of the corpus.
        named: what the user calls train, dev and test, relative to `source`; None if unsaid.
        usual: what they may be called otherwise, with `{}` for train, dev or test.
        what: is looked for, for the error.
        hint: what else the error should offer.

    Raises:
        ManifestError: there is nothing of a given name, or no split at all.
    """
    found: dict[Split, Path] = {}
    for split, name in zip(SPLITS, named, strict=True):
        candidates = [source / one.format(split) for one in usual] if name is None else []
        places = [source / name] if name is not None else [p for p in candidates if p.exists()]
        if name is not None and not places[0].exists():
            raise ManifestError(f"{places[0]}: no such {what}; give --{split} another name")
        if places:
            found[split] = places[0]
    if not found:
        expected = " or ".join(one.format("train") for one in usual)
        raise ManifestError(
            f"{source}: holds no {what}; expected {expected}, the same with dev and test, "
            f"or the names given with --train, --dev and --test{hint}"
        )
    return found
