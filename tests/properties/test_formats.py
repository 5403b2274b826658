"""Whatever a transcript holds: every format is read back, in order, without overlap."""

from __future__ import annotations

import io
import json
import tempfile
from itertools import pairwise
from pathlib import Path

import srt
import tgt
import webvtt
from hypothesis import given
from hypothesis import strategies as st
from lhotse import SupervisionSegment, SupervisionSet

from keyframe_asr.formats import render
from keyframe_asr.formats.subtitles import LONGEST, cues_of, width
from keyframe_asr.results import Token, Transcript, Word

TEXTS = st.one_of(
    st.sampled_from(
        ["HELLO", "你", "⁇", '"', "<i>", "-->", "1", "NOTE", "00:00:01,000", "{\\an8}"]
    ),
    st.text(min_size=1, max_size=60),
)
STEPS = st.one_of(st.just(0.0), st.floats(0, 0.3), st.floats(0, 20))


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    """Words with non-decreasing times, of no length too, all within the recording."""
    words: list[Word] = []
    time = 0.0
    for text in draw(st.lists(TEXTS, max_size=40)):
        start = time + draw(STEPS)
        time = start + draw(STEPS)
        words.append(Word(text, start, time, draw(st.floats(0, 1))))
    duration = time + draw(STEPS)
    tokens = [Token(one.text, one.start, one.end, one.confidence) for one in words]
    return Transcript("".join(one.text for one in words), tokens, duration, 0.5, words)


def letters(text: str) -> str:
    """What no format may lose: letters and digits, in order."""
    return "".join(one for one in text if one.isalnum())


def said(transcript: Transcript) -> str:
    return letters("".join(one.text for one in transcript.words))


@given(transcripts())
def test_cues(transcript: Transcript) -> None:
    cues = cues_of(transcript)
    assert letters("".join("".join(cue.lines) for cue in cues)) == said(transcript)
    for cue in cues:
        assert 0 <= cue.start < cue.end
        assert cue.end - cue.start <= LONGEST
        assert 1 <= len(cue.lines) <= 2
        assert all(line and width(line) <= 42 for line in cue.lines)
    assert all(cue.end <= following.start for cue, following in pairwise(cues))


@given(transcripts())
def test_srt(transcript: Transcript) -> None:
    read = list(srt.parse(render(transcript, "srt", "a.wav")))
    cues = cues_of(transcript)
    assert [round(one.start.total_seconds() * 1000) for one in read] == [one.start for one in cues]
    assert [round(one.end.total_seconds() * 1000) for one in read] == [one.end for one in cues]
    assert letters("".join(one.content for one in read)) == said(transcript)


@given(transcripts())
def test_vtt(transcript: Transcript) -> None:
    read = webvtt.from_buffer(io.StringIO(render(transcript, "vtt", "a.wav"))).captions
    cues = cues_of(transcript)
    assert [round(one.start_in_seconds * 1000) // 1000 for one in read] == [
        one.start // 1000 for one in cues
    ]
    assert len(read) == len(cues)
    assert all("<" not in one.raw_text and "-->" not in one.raw_text for one in read)


@given(transcripts())
def test_ctm(transcript: Transcript) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.ctm")
        path.write_text(render(transcript, "ctm", "a.wav"), encoding="utf-8")
        whole = SupervisionSegment("1", recording_id="a", start=0, duration=10_000)
        segments = SupervisionSet.from_segments([whole]).with_alignment_from_ctm(path)
    read = (segments["1"].alignment or {}).get("word", [])
    assert letters("".join(one.symbol for one in read)) == said(transcript)
    assert all(one.duration >= 0 and 0 <= one.score <= 1 for one in read)
    for first, second in pairwise(read):
        assert first.start <= second.start
        assert first.end <= second.start + 1e-6


@given(transcripts())
def test_textgrid(transcript: Transcript) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.TextGrid")
        path.write_text(render(transcript, "textgrid", "a.wav"), encoding="utf-8")
        grid = tgt.io.read_textgrid(path, include_empty_intervals=True)
    assert grid.get_tier_names() == ["words", "tokens"]
    assert grid.end_time >= transcript.duration - 1e-3
    for tier in grid:
        assert tier[0].start_time == 0
        assert tier[-1].end_time == grid.end_time
        assert all(one.start_time < one.end_time for one in tier)
        assert all(first.end_time == second.start_time for first, second in pairwise(tier))
        assert letters("".join(one.text for one in tier)) == said(transcript)


@given(transcripts())
def test_json(transcript: Transcript) -> None:
    read = json.loads(render(transcript, "json", "a.wav"))
    found = [Word(**one) for segment in read["segments"] for one in segment["words"]]
    assert [one.text for one in found] == [one.text for one in transcript.words]
    for one, other in zip(found, transcript.words, strict=True):
        numbers = [(one.start, other.start), (one.end, other.end)]
        numbers.append((one.confidence, other.confidence))
        assert all(abs(number - exact) <= 5.001e-5 for number, exact in numbers)
