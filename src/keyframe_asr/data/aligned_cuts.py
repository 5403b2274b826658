"""lhotse cuts of aligned utterances: word times in `supervision.alignment["word"]`."""

from __future__ import annotations

from collections.abc import Sequence

from lhotse import MonoCut, SupervisionSegment
from lhotse.cut import Cut
from lhotse.supervision import AlignmentItem

from keyframe_asr.results import Word

DECIMALS = 4


def aligned_cut(
    cut: Cut, id: str, text: str, span: tuple[float, float], words: Sequence[Word]
) -> MonoCut:
    """Return the part of a cut that an utterance fills, with its text and word times.

    Args:
        cut: with one supervision, whose speaker and other fields are kept.
        id: of the utterance.
        text: of the utterance.
        span: its start and end in seconds from the start of the cut.
        words: with times from the start of the cut.
    """
    start, end = span
    items = [
        AlignmentItem(
            symbol=word.text,
            start=round(word.start - start, DECIMALS),
            duration=round(word.end - word.start, DECIMALS),
            score=round(word.confidence, DECIMALS),
        )
        for word in words
    ]
    known = cut.supervisions[0]
    duration = round(end - start, DECIMALS)
    supervision = SupervisionSegment(
        id=id,
        recording_id=known.recording_id,
        start=0.0,
        duration=duration,
        channel=known.channel,
        text=text,
        language=known.language,
        speaker=known.speaker,
        gender=known.gender,
        custom=known.custom,
        alignment={"word": items},
    )
    return MonoCut(
        id=id,
        start=round(cut.start + start, DECIMALS),
        duration=duration,
        channel=cut.channel,
        recording=cut.recording,
        supervisions=[supervision],
    )
