"""What can be found in data: each kind with its severity, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Error: an utterance cannot be used, or a score would mean nothing. Warning: probably a
    defect, or a score flattered by it. Information: worth knowing."""

    error = "error"
    warning = "warning"
    information = "information"


@dataclass(frozen=True)
class Kind:
    """One thing that can be found."""

    severity: Severity
    title: str
    advice: str


KINDS: dict[str, Kind] = {
    "audio-missing": Kind(
        Severity.error, "recording is not there", "correct the path or get the file"
    ),
    "audio-unreadable": Kind(
        Severity.error, "recording cannot be decoded", "copy or convert it again, or leave it out"
    ),
    "audio-empty": Kind(
        Severity.error, "recording without a sample", "copy it again, or leave it out"
    ),
    "audio-not-finite": Kind(
        Severity.error, "samples that are NaN or infinite", "export the recording again"
    ),
    "audio-duration": Kind(
        Severity.error,
        "audio of another length than the manifest says",
        "correct the manifest, or copy the recording again",
    ),
    "audio-silent": Kind(
        Severity.error,
        "text, but digital silence",
        "look for the right recording, or leave it out",
    ),
    "audio-clipped": Kind(
        Severity.warning, "clipped audio", "record at a lower level, or accept it"
    ),
    "audio-rates": Kind(
        Severity.information,
        "several sample rates",
        "all become 16 kHz; lower rates lack the high frequencies that others have",
    ),
    "audio-channels": Kind(
        Severity.information,
        "more than one channel",
        "channels are averaged; if each holds one speaker, separate them",
    ),
    "text-empty": Kind(Severity.warning, "no text", "transcribe it, or leave it out"),
    "text-nothing": Kind(
        Severity.warning,
        "nothing of the text is left once normalised",
        "check text and --language",
    ),
    "text-digits": Kind(
        Severity.warning,
        "digits in the text",
        "write numbers as they are spoken: digits do not say how they are read",
    ),
    "text-unknown": Kind(
        Severity.warning,
        "symbols or words that the tokenizer lacks",
        "correct the texts, or train a tokenizer that has them",
    ),
    "text-too-long": Kind(
        Severity.error,
        "more text than the audio has encoder frames",
        "CTC cannot align it and training leaves it out: check text and recording",
    ),
    "duration-outlier": Kind(
        Severity.information, "unusual duration", "listen to some; long ones cost memory"
    ),
    "rate-outlier": Kind(
        Severity.warning, "unusual speaking rate", "listen: text and audio may not belong together"
    ),
    "speaker-unknown": Kind(
        Severity.information,
        "no speaker named",
        "nobody can tell whether these speakers are in other splits",
    ),
    "duplicate-audio": Kind(
        Severity.warning, "the same audio twice in one split", "keep one, with the right text"
    ),
    "split-audio": Kind(
        Severity.error, "the same audio in two splits", "take it out of the training split"
    ),
    "split-utterance": Kind(
        Severity.warning, "the same utterance name in two splits", "check that they differ"
    ),
    "split-speaker": Kind(
        Severity.warning,
        "the same speaker in two splits",
        "error rates are of known speakers: say so, or split by speaker",
    ),
    "split-sentence": Kind(
        Severity.information,
        "sentence that the other split has too",
        "error rates on it are of a known sentence",
    ),
}
"""By the name that programs know them by."""


@dataclass(frozen=True)
class Item:
    """One thing found: an utterance, speaker or symbol, and what is the matter with it."""

    name: str
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """All items of one kind in a manifest, or between two.

    Attributes:
        kind: a key of `KINDS`.
        manifests: one name, or two; the items are then those of the second.
        items: in the order of the manifest.
    """

    kind: str
    manifests: tuple[str, ...]
    items: tuple[Item, ...]

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return KINDS[self.kind].severity


def findings(kind: str, manifests: tuple[str, ...], items: Iterable[Item]) -> list[Finding]:
    """One finding, none if there are no items."""
    collected = tuple(items)
    return [Finding(kind, manifests, collected)] if collected else []
