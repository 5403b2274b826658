"""Texts that nothing can be learnt from, or not what they are meant to teach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from keyframe_asr.data.checks.finding import Finding, Item, findings
from keyframe_asr.data.checks.utterance import Utterance
from keyframe_asr.text.forms import has_digits


def text_findings(manifest: str, utterances: Sequence[Utterance]) -> list[Finding]:
    """Texts of one manifest that are empty, too long, or not as they would be spoken."""
    where = (manifest,)
    empty = (Item(one.id) for one in utterances if not one.text.strip())
    nothing = (
        Item(one.id, f"'{one.text}'") for one in utterances if one.text.strip() and not one.sentence
    )
    digits = (Item(one.id, f"'{one.text}'") for one in utterances if has_digits(one.text))
    too_long = (
        Item(one.id, f"needs {one.frames_needed} frames, has {int(one.frames)}")
        for one in utterances
        if one.frames_needed > one.frames
    )
    nobody = (Item(one.id) for one in utterances if not one.speaker)
    return [
        *findings("text-empty", where, empty),
        *findings("text-nothing", where, nothing),
        *findings("text-digits", where, digits),
        *findings("text-unknown", where, _unknown(utterances)),
        *findings("text-too-long", where, too_long),
        *findings("speaker-unknown", where, nobody),
    ]


def _unknown(utterances: Sequence[Utterance]) -> list[Item]:
    """What the tokenizer lacks, the most frequent first."""
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for one in utterances:
        counts.update(one.unknown)
        for unit in one.unknown:
            first.setdefault(unit, one.id)
    ranked = sorted(counts, key=lambda unit: (-counts[unit], unit))
    return [Item(unit, f"{counts[unit]} times, first in {first[unit]}") for unit in ranked]
