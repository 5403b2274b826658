"""Cut of a listed utterance, once the length of its recording is known."""

from __future__ import annotations

from lhotse.cut import MonoCut

from keyframe_asr.audio.reading import AudioLength
from keyframe_asr.data.corpora.listing import ListedUtterance
from keyframe_asr.data.manifest import in_language, make_cut

OVERHANG = 0.5
"""Seconds by which a segment may exceed its recording: the times of segments are rounded."""


def cut_of(utterance: ListedUtterance, length: AudioLength) -> MonoCut | str:
    """Return the cut of an utterance in a recording of this length, or why there is none."""
    first = round(utterance.start * length.sample_rate)
    last = length.samples
    if utterance.end is not None:
        last = round(utterance.end * length.sample_rate)
    seconds = length.samples / length.sample_rate
    if last > length.samples + OVERHANG * length.sample_rate:
        return (
            f"{utterance.audio}: ends at {seconds:.2f} s, utterance ends at {utterance.end:.2f} s"
        )
    last = min(last, length.samples)
    if not 0 <= first < last:
        return (
            f"{utterance.audio}: {seconds:.2f} s long, utterance starts at {utterance.start:.2f} s"
        )
    channel = utterance.channel
    if utterance.may_be_apart and length.channels == 1:
        channel = None
    if channel is not None and channel >= length.channels:
        return f"{utterance.audio}: has {length.channels} channels, not channel {channel}, from 0"
    whole = utterance.start == 0 and utterance.end is None
    cut = make_cut(
        utterance.id,
        utterance.speaker,
        utterance.text,
        utterance.audio,
        length.samples,
        length.sample_rate,
        None if whole else (first, last),
        (channel, length.channels) if channel is not None and length.channels > 1 else None,
    )
    return in_language(cut, utterance.language)
