"""Whatever `data.source_listing` reads, as a corpus."""

from __future__ import annotations

from pathlib import Path

from keyframe_asr.data.corpora.listed_source import ListedSource
from keyframe_asr.data.corpora.listing import SPLITS, CorpusListing, ListedUtterance, Split
from keyframe_asr.data.corpora.tables import SPLIT_NAMES, list_cuts
from keyframe_asr.data.source_listing import parts_of


def read(source: Path, language: str) -> CorpusListing:
    """List a source; everything that it does not divide is training speech.

    Raises:
        ManifestError: there is no source, or its lists are damaged.
    """
    splits: dict[Split, list[ListedUtterance]] = {split: [] for split in SPLITS}
    problems: list[str] = []
    for split, part in parts_of(str(source)).items():
        if not isinstance(part, ListedSource):
            splits[split or "train"] += list_cuts(part, problems)
            continue
        problems += part.problems
        divided = any(one.split.strip() for one in part.entries)
        for one in part.entries:
            own = SPLIT_NAMES.get(one.split.strip().lower())
            if divided and own is None:
                problems.append(
                    f"{one.utterance.id}: its split '{one.split}' is none of "
                    f"{', '.join(SPLIT_NAMES)}"
                )
            else:
                splits[split or own or "train"].append(one.utterance)
    return CorpusListing("auto", language, splits, problems=problems)
