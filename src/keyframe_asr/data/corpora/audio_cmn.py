"""Single Mandarin words of one speaker, split by word: a folder with `manifest.tsv`."""

from __future__ import annotations

from pathlib import Path

from keyframe_asr.data.corpora.listing import CorpusListing
from keyframe_asr.data.corpora.manifest_folder import read_manifest_folder


def read(source: Path) -> CorpusListing:
    """List the words in `source`.

    Raises:
        ManifestError: there is no table, or it has a bad line.
    """
    listing = read_manifest_folder(source, "audio_cmn", "mandarin")
    listing.notes.append("homophones cannot be told apart: there is one word an utterance")
    return listing
