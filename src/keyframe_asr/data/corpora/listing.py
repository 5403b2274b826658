"""What a corpus says it holds, before any of its audio is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class ListedUtterance:
    """One utterance as the corpus lists it.

    Attributes:
        id: its name, unique in the corpus.
        speaker: "" if not known.
        text: the transcript as it stands in the corpus, not normalised.
        audio: the recording.
        start: seconds from the start of the recording, for a part of it.
        end: seconds from the start of the recording; None is its end.
    """

    id: str
    speaker: str
    text: str
    audio: Path
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class CorpusListing:
    """All that a corpus lists.

    Attributes:
        corpus: its name on the command line.
        language: decides how its texts are normalised, and its units.
        splits: utterances of each split, in the order of the corpus; empty splits are allowed.
        notes: what whoever uses it should know.
        problems: utterances that the corpus itself makes unusable (no transcript, no recording),
            each as one line "ID: reason".
    """

    corpus: str
    language: Literal["english", "mandarin"]
    splits: dict[Split, list[ListedUtterance]]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
