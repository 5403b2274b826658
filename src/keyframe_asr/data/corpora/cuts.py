"""lhotse cuts, as lhotse's and icefall's recipes for many corpora write them.

Cuts that are copies of others at another speed or level are left out: training makes its own.
"""

from __future__ import annotations

from pathlib import Path

from lhotse.cut import Cut

from keyframe_asr.data.corpora.listing import CorpusListing, ListedUtterance, Split, find_splits
from keyframe_asr.data.manifest import audio_path, is_part, load_manifest, speaker, text
from keyframe_asr.text.forms import Language

USUAL = ("{}.jsonl.gz", "cuts_{}.jsonl.gz", "{}.jsonl", "cuts_{}.jsonl")


def read(
    source: Path,
    language: Language,
    train: str | None = None,
    dev: str | None = None,
    test: str | None = None,
) -> CorpusListing:
    """List the cuts in `train.jsonl.gz` or `cuts_train.jsonl.gz` and so on, or the files named.

    Raises:
        ManifestError: a file is missing, or holds something else than cuts with one supervision.
    """
    files = find_splits(Path(source), (train, dev, test), USUAL, "manifest of cuts")
    splits: dict[Split, list[ListedUtterance]] = {}
    problems = []
    for split, file in files.items():
        cuts = load_manifest(file)
        splits[split] = [_utterance(cut) for cut in cuts if not cut.recording.transforms]
        problems += [
            f"{cut.id}: its recording is to be transformed, as a copy of another is"
            for cut in cuts
            if cut.recording.transforms
        ]
    return CorpusListing("lhotse", language, splits, problems=problems)


def _utterance(cut: Cut) -> ListedUtterance:
    end = cut.start + cut.duration if is_part(cut) else None
    return ListedUtterance(cut.id, speaker(cut), text(cut), audio_path(cut), cut.start, end)
