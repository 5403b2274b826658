"""The normal text of a transcript beside the one that is displayed.

A pretrained decoder writes case, punctuation and digits as its training did. Scoring needs the
model's text form.
"""

from __future__ import annotations

from dataclasses import replace

from keyframe_asr.config.text_form import TextForm
from keyframe_asr.results import Transcript, Word
from keyframe_asr.text.forms import normaliser


def with_normal_texts(transcript: Transcript, form: TextForm) -> Transcript:
    """Add the normal text of a transcript, its segments and words."""
    normalise = normaliser(form)

    def normal(words: list[Word]) -> list[Word]:
        return [replace(word, normal=normalise(word.text)) for word in words]

    segments = [
        replace(one, normal=normalise(one.text), words=normal(one.words))
        for one in transcript.segments
    ]
    return replace(
        transcript,
        normal=normalise(transcript.text),
        segments=segments,
        words=[word for segment in segments for word in segment.words],
    )
