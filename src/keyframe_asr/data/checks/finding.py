"""Kinds of findings, each with its severity and advice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Severity of a finding.

    Error: an utterance cannot be used, or a score would be meaningless. Warning: probably a defect,
    or an optimistic score. Information: worth knowing.
    """

    error = "error"
    warning = "warning"
    information = "information"


@dataclass(frozen=True)
class Kind:
    """A kind of finding."""

    severity: Severity
    title: str
    advice: str


KINDS: dict[str, Kind] = {
    "list-unusable": Kind(
        Severity.warning,
        "listed, but not usable",
        "give each recording one text, and each text one recording",
    ),
    "left-out": Kind(
        Severity.information,
        "fine-tuning of this model would leave these out",
        "correct recordings and texts, or do without them",
    ),
    "audio-missing": Kind(
        Severity.error, "recording is missing", "correct the path or get the file"
    ),
    "audio-unreadable": Kind(
        Severity.error, "recording cannot be decoded", "copy or convert it again, or leave it out"
    ),
    "audio-empty": Kind(
        Severity.error, "recording without samples", "copy it again, or leave it out"
    ),
    "audio-not-finite": Kind(
        Severity.error, "samples that are NaN or infinite", "export the recording again"
    ),
    "audio-duration": Kind(
        Severity.error,
        "length differs from the manifest",
        "correct the manifest, or copy the recording again",
    ),
    "audio-silent": Kind(
        Severity.error,
        "digital silence with a text",
        "find the right recording, or leave it out",
    ),
    "audio-clipped": Kind(
        Severity.warning, "clipped audio", "record at a lower level, or accept it"
    ),
    "audio-rates": Kind(
        Severity.information,
        "several sample rates",
        "all are resampled to 16 kHz; lower rates lack high frequencies",
    ),
    "audio-channels": Kind(
        Severity.information,
        "more than one channel",
        "channels are averaged; if each has its own speaker, separate them",
    ),
    "text-empty": Kind(Severity.warning, "no text", "transcribe it, or leave it out"),
    "text-nothing": Kind(
        Severity.warning,
        "text is empty once normalised",
        "check the text and --text-form",
    ),
    "text-digits": Kind(
        Severity.warning,
        "digits in the text",
        "write numbers as they are spoken; digits are ambiguous",
    ),
    "text-unknown": Kind(
        Severity.warning,
        "symbols or words unknown to the tokenizer",
        "correct the texts, or train a tokenizer that includes them",
    ),
    "text-form": Kind(
        Severity.error,
        "more than 1 % of the words damaged by the text form",
        "choose the form named here with --text-form",
    ),
    "text-lost": Kind(
        Severity.warning,
        "spoken text that the form drops",
        "choose a form that keeps it with --text-form",
    ),
    "text-too-long": Kind(
        Severity.error,
        "more text than the audio has encoder frames",
        "CTC cannot align it, training leaves it out; check text and recording",
    ),
    "duration-outlier": Kind(
        Severity.information, "unusual duration", "listen to some; long ones need memory"
    ),
    "rate-outlier": Kind(
        Severity.warning, "unusual speaking rate", "listen: text and audio may not belong together"
    ),
    "speaker-unknown": Kind(
        Severity.information,
        "unknown speaker",
        "cannot check whether these speakers are in other splits",
    ),
    "duplicate-audio": Kind(
        Severity.warning, "same audio twice in one split", "keep one, with the right text"
    ),
    "split-audio": Kind(
        Severity.error, "same audio in two splits", "remove it from the training split"
    ),
    "split-utterance": Kind(
        Severity.warning, "same utterance name in two splits", "check that they differ"
    ),
    "split-speaker": Kind(
        Severity.warning,
        "same speaker in two splits",
        "error rates are for known speakers; report that, or split by speaker",
    ),
    "split-sentence": Kind(
        Severity.information,
        "same sentence in two splits",
        "error rates on it are for a known sentence",
    ),
}
"""Kinds by their name in the JSON report."""


@dataclass(frozen=True)
class Item:
    """An utterance, speaker or symbol that was found, with details."""

    name: str
    detail: str = ""


@dataclass(frozen=True)
class Finding:
    """All items of one kind in a manifest, or in a pair of manifests.

    Attributes:
        kind: a key of `KINDS`.
        manifests: one name, or two; the items of a pair belong to the second.
        items: in the order of the manifest.
    """

    kind: str
    manifests: tuple[str, ...]
    items: tuple[Item, ...]

    @property
    def severity(self) -> Severity:
        """Severity of its kind."""
        return KINDS[self.kind].severity


def findings(kind: str, manifests: tuple[str, ...], items: Iterable[Item]) -> list[Finding]:
    """Return a list with one finding; empty if there are no items."""
    collected = tuple(items)
    return [Finding(kind, manifests, collected)] if collected else []
