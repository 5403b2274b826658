"""Rules of the checks, on one manifest and on pairs of manifests.

They find unusable, silent or clipped recordings; empty, too long or unknown texts; unusual
durations and speaking rates; and repeated audio, names, speakers and sentences.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from keyframe_asr.data.checks.finding import Finding, Item, findings
from keyframe_asr.data.checks.utterance import Utterance
from keyframe_asr.text.forms import MAX_LOST, Losses, keeping_form
from keyframe_asr.text.numbers import has_digits

CLIPPED_FRACTION = 0.001
"""A recording is clipped if more than this fraction of its samples is at full scale."""

_PROBLEMS = (
    "audio-missing",
    "audio-unreadable",
    "audio-empty",
    "audio-not-finite",
    "audio-duration",
)

DEVIATIONS = 5.0
"""Robust standard deviations from the median beyond which a value is an outlier."""

MIN_VALUES = 20
"""Fewer values are too few to measure a spread."""

MIN_FACTOR = 2.0
"""Smallest ratio to the median of an outlier; matters if all values are nearly the same."""

_GAUSSIAN = 1.4826
"""Ratio of the standard deviation of a normal distribution to its MAD."""


def audio_findings(manifest: str, utterances: Sequence[Utterance]) -> list[Finding]:
    """Find recordings of a manifest that cannot be used, are silent, clipped or multi-channel."""
    where = (manifest,)
    found = []
    for problem in _PROBLEMS:
        bad = (one for one in utterances if one.audio.problem == problem)
        found += findings(problem, where, (Item(one.id, one.audio.reason) for one in bad))
    silent = (one for one in utterances if one.audio.silent and one.sentence)
    found += findings("audio-silent", where, (Item(one.id, f"'{one.text}'") for one in silent))
    clipped = (one for one in utterances if one.audio.clipped > CLIPPED_FRACTION)
    fractions = (Item(one.id, f"{one.audio.clipped:.1%} of its samples") for one in clipped)
    found += findings("audio-clipped", where, fractions)
    several = (one for one in utterances if one.audio.averaged)
    channels = (Item(one.id, f"{one.audio.channels} channels") for one in several)
    return found + findings("audio-channels", where, channels)


def left_out_findings(manifest: str, utterances: Sequence[Utterance]) -> list[Finding]:
    """Find the utterances that fine-tuning of a model would leave out."""
    items = (Item(one.id, one.left_out) for one in utterances if one.left_out)
    return findings("left-out", (manifest,), items)


def sample_rate_findings(
    manifests: Sequence[str], utterances: Sequence[Utterance]
) -> list[Finding]:
    """Report the sample rates of all manifests if there are several."""
    rates = Counter(one.audio.sample_rate for one in utterances if one.audio.sample_rate)
    items = [Item(f"{rate} Hz", f"{count} utterances") for rate, count in sorted(rates.items())]
    return findings("audio-rates", tuple(manifests), items if len(items) > 1 else ())


def text_findings(manifest: str, utterances: Sequence[Utterance]) -> list[Finding]:
    """Find texts of a manifest that are empty, too long, or contain digits or unknown symbols."""
    where = (manifest,)
    empty = (Item(one.id) for one in utterances if not one.text.strip())
    nothing = (
        Item(one.id, f"'{one.text}'") for one in utterances if one.text.strip() and not one.sentence
    )
    digits = (Item(one.id, f"'{one.text}'") for one in utterances if has_digits(one.text))
    too_long = (
        Item(one.id, f"needs {one.frames_needed} frames, has {int(one.frames)}")
        for one in utterances
        if one.frames_needed > one.frames and (one.seconds or not one.audio.problem)
    )
    anonymous = (Item(one.id) for one in utterances if not one.speaker)
    return [
        *findings("text-empty", where, empty),
        *findings("text-nothing", where, nothing),
        *findings("text-digits", where, digits),
        *findings("text-unknown", where, _unknown(utterances)),
        *findings("text-too-long", where, too_long),
        *findings("speaker-unknown", where, anonymous),
    ]


def loss_findings(manifest: str, utterances: Sequence[Utterance]) -> list[Finding]:
    """Find utterances that lose letters, digits, accents or spaces in the form of the texts.

    Another form is named if this one loses more than `MAX_LOST` of the words.
    """
    read = [one for one in utterances if not has_digits(one.text)]
    damaged = (Item(one.id, one.losses.named()) for one in read if one.losses.tokens_lost)
    total = Losses()
    for one in read:
        total.add(one.losses)
    better = []
    if total.fraction > MAX_LOST:
        name = keeping_form(one.text for one in read).name
        better.append(Item(name, f"{total.fraction:.1%} of the words lose {total.named()}"))
    return [
        *findings("text-form", (manifest,), better),
        *findings("text-lost", (manifest,), damaged),
    ]


def outlier_findings(manifest: str, utterances: Sequence[Utterance], unit: str) -> list[Finding]:
    """Find utterances of a manifest that are unusually long, short, fast or slow.

    Uses the median absolute deviation (Iglewicz and Hoaglin, 1993) of logarithms: a value is an
    outlier if its logarithm is more than `DEVIATIONS` robust standard deviations (1.4826 · MAD)
    away from the median. Unlike mean and standard deviation, these are robust to the outliers.
    Manifests with fewer than `MIN_VALUES` utterances have no outliers, and values within a factor
    of `MIN_FACTOR` of the median are not outliers. `unit` is the unit of the speaking rate.
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
    """Return the indices of the outliers among values above 0."""
    if len(values) < MIN_VALUES:
        return []
    logs = np.log(np.asarray(values, dtype=np.float64))
    distances = np.abs(logs - np.median(logs))
    limit = max(DEVIATIONS * _GAUSSIAN * float(np.median(distances)), math.log(MIN_FACTOR))
    return [int(index) for index in np.flatnonzero(distances > limit)]


def duplicate_findings(manifest: str, utterances: Sequence[Utterance]) -> list[Finding]:
    """Find utterances of a manifest whose samples equal those of an earlier utterance."""
    return findings("duplicate-audio", (manifest,), _repeated(utterances))


def shared_findings(
    manifests: tuple[str, str], earlier: Sequence[Utterance], later: Sequence[Utterance]
) -> list[Finding]:
    """Find audio, names, speakers and sentences of `later` that also occur in `earlier`."""
    names = {one.id for one in earlier}
    same_name = (Item(one.id) for one in later if one.id in names)
    return [
        *findings("split-audio", manifests, _shared(earlier, later, lambda one: one.audio.digest)),
        *findings("split-utterance", manifests, same_name),
        *findings("split-speaker", manifests, _speakers(earlier, later)),
        *findings("split-sentence", manifests, _shared(earlier, later, lambda one: one.sentence)),
    ]


def _unknown(utterances: Sequence[Utterance]) -> list[Item]:
    """List the units that the tokenizer lacks, the most frequent first."""
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
            but = "" if same.sentence == one.sentence else ", with another text"
            yield Item(one.id, f"same as {same.id}{but}")


def _shared(
    earlier: Iterable[Utterance],
    later: Iterable[Utterance],
    content: Callable[[Utterance], bytes | str],
) -> Iterator[Item]:
    """Yield utterances of `later` whose content occurs in `earlier`; empty content is ignored."""
    first: dict[bytes | str, str] = {}
    for one in earlier:
        first.setdefault(content(one), one.id)
    for one in later:
        if content(one) and content(one) in first:
            yield Item(one.id, f"same as {first[content(one)]}: '{one.text}'")


def _speakers(earlier: Iterable[Utterance], later: Iterable[Utterance]) -> Iterator[Item]:
    before = Counter(one.speaker for one in earlier if one.speaker)
    for speaker, count in Counter(one.speaker for one in later).items():
        if speaker in before:
            yield Item(speaker, f"{before[speaker]} and {count} utterances")
