"""Whether a copy of a corpus is whole: its counts against those that were published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from keyframe_asr.data.corpora.listing import ListedUtterance
from keyframe_asr.errors import ManifestError

NAMED_AT_MOST = 8
Part = TypeVar("Part", bound=str)


@dataclass(frozen=True)
class PartSize:
    """How much a part of a corpus holds; None if it is not known."""

    utterances: int
    speakers: int | None = None


def check_complete(
    where: Path,
    found: Mapping[Part, Sequence[ListedUtterance]],
    expected: Mapping[Part, PartSize],
    allow_incomplete: bool,
    details: Sequence[str] = (),
) -> list[str]:
    """Compare what was found with what each part of the corpus holds.

    Args:
        where: the folder of the corpus.
        found: usable utterances of each part.
        expected: the parts to compare.
        allow_incomplete: take what there is.
        details: what else is known of what is missing, for the message.

    Returns:
        Notes: none for a whole corpus, one if it is incomplete and that is allowed.

    Raises:
        ManifestError: it is incomplete, and that is not allowed.
    """
    short = [
        line for part, size in expected.items() if (line := _shortage(part, found[part], size))
    ]
    if not short:
        return []
    missing = "; ".join([*short, *details])
    if allow_incomplete:
        return [f"incomplete copy: {missing}"]
    raise ManifestError(
        f"{where}: incomplete: {missing}; get what is missing, or take what there is with "
        "--allow-incomplete"
    )


def some_of(names: Sequence[str]) -> str:
    """The first few names, and how many there are besides."""
    rest = len(names) - NAMED_AT_MOST
    return " ".join(names[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")


def _shortage(part: str, utterances: Sequence[ListedUtterance], size: PartSize) -> str:
    """What a part lacks, "" if nothing."""
    speakers = len({utterance.speaker for utterance in utterances})
    lacks_speakers = size.speakers is not None and speakers < size.speakers
    if len(utterances) >= size.utterances and not lacks_speakers:
        return ""
    line = f"{part} has {len(utterances)} of {size.utterances} utterances"
    return f"{line} and {speakers} of {size.speakers} speakers" if lacks_speakers else line
