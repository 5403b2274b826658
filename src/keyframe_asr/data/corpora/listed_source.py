"""What a table, folder or other source of recordings lists, before any recording is opened."""

from __future__ import annotations

from dataclasses import dataclass, field

from keyframe_asr.data.corpora.listing import ListedUtterance


@dataclass(frozen=True)
class Entry:
    """An utterance of a source.

    Attributes:
        utterance: as listed.
        seconds: stated duration of its whole recording; None if unknown.
        split: as the source names it; "" if it has none.
        line: in the table that lists it; 0 elsewhere.
    """

    utterance: ListedUtterance
    seconds: float | None = None
    split: str = ""
    line: int = 0


@dataclass
class ListedSource:
    """The utterances of a source.

    Attributes:
        kind: what the source is, in words.
        entries: in the order of the source, with unique names.
        columns: usual name of each column of a table, and its name there.
        problems: what is left out, one line "NAME: reason" each.
    """

    kind: str
    entries: list[Entry] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
