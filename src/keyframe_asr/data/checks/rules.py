"""What is looked for in the utterances of a manifest, and in two manifests together.

Recordings that cannot be used or do not sound as they should; texts that nothing can be learnt
from; unusual durations and speaking rates; audio, names, speakers and sentences that come twice.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from keyframe_asr.data.checks.finding import Finding, Item, findings
from keyframe_asr.data.checks.utterance import Utterance
from keyframe_asr.text.forms import has_digits

CLIPPED_SHARE = 0.001
"""A recording is clipped if more than this share of it is at full scale; peaks alone are less."""

_PROBLEMS = (
    "audio-missing",
    "audio-unreadable",
    "audio-empty",
    "audio-not-finite",
    "audio-duration",
)

DEVIATIONS = 5.0
"""Robust standard deviations to the median."""

FEWEST = 20
"""Fewer values have no spread to speak of."""

LEAST_FACTOR = 2.0
"""Where all are alike, even a small difference would be many deviations."""

_GAUSSIAN = 1.4826
"""MAD to standard deviation of a normal distribution."""


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


def outlier_findings(manifest: str, utterances: Sequence[Utterance], unit: str) -> list[Finding]:
    """Utterances of one manifest that are unusually long, short, fast or slow.

    The rule is that of the median absolute deviation (Iglewicz and Hoaglin, 1993), on logarithms,
    because durations and rates are spread by factors: a value is an outlier if its logarithm is
    more than `DEVIATIONS` robust standard deviations (1.4826 · MAD) away from the median. Unlike
    mean and standard deviation, neither moves with the outliers themselves. Manifests of fewer than
    `FEWEST` utterances have no outliers, and deviations of less than a factor of `LEAST_FACTOR` are
    none. `unit` names what the speaking rate counts.
    """
    timed = [one for one in utterances if one.seconds > 0]
    spoken = [one for one in timed if one.units and not one.audio.problem]
    durations = [one.seconds for one in timed]
    rates = [one.units / one.seconds for one in spoken]
    return [
        *findings("duration-outlier", (manifest,), _outlier_items(timed, durations, "s")),
        *findings("rate-outlier", (manifest,), _outlier_items(spoken, rates, f"{unit}/s")),
    ]


def outliers(values: Sequence[float]) -> list[int]:
    """Indices of the outliers among values above 0."""
    if len(values) < FEWEST:
        return []
    logs = np.log(np.asarray(values, dtype=np.float64))
    distances = np.abs(logs - np.median(logs))
    limit = max(DEVIATIONS * _GAUSSIAN * float(np.median(distances)), math.log(LEAST_FACTOR))
    return [int(index) for index in np.flatnonzero(distances > limit)]


def duplicate_findings(manifest: str, utterances: Sequence[Utterance]) -> list[Finding]:
    """Utterances of one manifest with the samples of an earlier one."""
    return findings("duplicate-audio", (manifest,), _repeated(utterances))


def shared_findings(
    manifests: tuple[str, str], earlier: Sequence[Utterance], later: Sequence[Utterance]
) -> list[Finding]:
    """What the later of two manifests has in common with the earlier one."""
    names = {one.id for one in earlier}
    same_name = (Item(one.id) for one in later if one.id in names)
    return [
        *findings("split-audio", manifests, _shared(earlier, later, lambda one: one.audio.digest)),
        *findings("split-utterance", manifests, same_name),
        *findings("split-speaker", manifests, _speakers(earlier, later)),
        *findings("split-sentence", manifests, _shared(earlier, later, lambda one: one.sentence)),
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


def _outlier_items(
    utterances: Sequence[Utterance], values: Sequence[float], unit: str
) -> list[Item]:
    far = outliers(values)
    median = float(np.median(values)) if far else 0.0
    return [
        Item(utterances[index].id, f"{values[index]:.2f} {unit} (median {median:.2f})")
        for index in far
    ]


def _repeated(utterances: Iterable[Utterance]) -> Iterator[Item]:
    first: dict[bytes, Utterance] = {}
    for one in utterances:
        if not one.audio.digest:
            continue
        same = first.setdefault(one.audio.digest, one)
        if same is not one:
            but = "" if same.sentence == one.sentence else ", but another text"
            yield Item(one.id, f"as {same.id}{but}")


def _shared(
    earlier: Iterable[Utterance],
    later: Iterable[Utterance],
    content: Callable[[Utterance], bytes | str],
) -> Iterator[Item]:
    """Utterances of `later` with the content of one of `earlier`; no content is none shared."""
    first: dict[bytes | str, str] = {}
    for one in earlier:
        first.setdefault(content(one), one.id)
    for one in later:
        if content(one) and content(one) in first:
            yield Item(one.id, f"as {first[content(one)]}: '{one.text}'")


def _speakers(earlier: Iterable[Utterance], later: Iterable[Utterance]) -> Iterator[Item]:
    before = Counter(one.speaker for one in earlier if one.speaker)
    for speaker, count in Counter(one.speaker for one in later).items():
        if speaker in before:
            yield Item(speaker, f"{before[speaker]} and {count} utterances")
