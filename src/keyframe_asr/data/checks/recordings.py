"""Recordings that cannot be used, or that do not sound as they should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from keyframe_asr.data.checks.finding import Finding, Item, findings
from keyframe_asr.data.checks.utterance import Utterance

CLIPPED_SHARE = 0.001
"""A recording is clipped if more than this share of it is at full scale; peaks alone are less."""

_PROBLEMS = (
    "audio-missing",
    "audio-unreadable",
    "audio-empty",
    "audio-not-finite",
    "audio-duration",
)


def audio_findings(manifest: str, utterances: Sequence[Utterance]) -> list[Finding]:
    """Recordings of one manifest that cannot be used, or that sound wrong."""
    where = (manifest,)
    found = []
    for problem in _PROBLEMS:
        bad = (one for one in utterances if one.audio.problem == problem)
        found += findings(problem, where, (Item(one.id, one.audio.reason) for one in bad))
    silent = (one for one in utterances if one.audio.silent and one.sentence)
    found += findings("audio-silent", where, (Item(one.id, f"'{one.text}'") for one in silent))
    clipped = (one for one in utterances if one.audio.clipped > CLIPPED_SHARE)
    shares = (Item(one.id, f"{one.audio.clipped:.1%} of its samples") for one in clipped)
    found += findings("audio-clipped", where, shares)
    several = (one for one in utterances if one.audio.channels > 1)
    channels = (Item(one.id, f"{one.audio.channels} channels") for one in several)
    return found + findings("audio-channels", where, channels)


def sample_rate_findings(
    manifests: Sequence[str], utterances: Sequence[Utterance]
) -> list[Finding]:
    """Whether the recordings of all manifests have one sample rate."""
    rates = Counter(one.audio.sample_rate for one in utterances if one.audio.sample_rate)
    items = [Item(f"{rate} Hz", f"{count} utterances") for rate, count in sorted(rates.items())]
    return findings("audio-rates", tuple(manifests), items if len(items) > 1 else ())
