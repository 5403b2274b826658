"""Each output format is read back by a public library, and holds what was recognised."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import srt
import tgt
import webvtt
from lhotse import SupervisionSegment, SupervisionSet

from keyframe_asr.decoding.timestamps import words
from keyframe_asr.formats import FORMATS, Source, render
from keyframe_asr.formats.subtitles import COLUMNS, cues_of, width
from keyframe_asr.results import Segment, Token, Transcript, Word
from keyframe_asr.text.scripts import mixed_text, mixed_words


def spoken(
    text: str, seconds: float = 0.4, start: float = 0.0, duration: float = 0.0
) -> list[Word]:
    """The words of a text, one after another."""
    texts = text.split()
    length = duration or seconds
    return [
        Word(one, start + place * seconds, start + place * seconds + length, 0.9)
        for place, one in enumerate(texts)
    ]


def transcript_of(words: list[Word], duration: float) -> Transcript:
    tokens = [Token(f"▁{one.text}", one.start, one.end, one.confidence) for one in words]
    text = mixed_text([one.text for one in words])
    segments = [Segment(text, words[0].start, words[-1].end, tokens, words)] if words else []
    return Transcript(text, tokens, duration, 0.9, words, segments)


HELLO = transcript_of(spoken('OH & <HELLO> "YOU" \'LL', start=1.0), 4.5)
SILENCE = Transcript("", [], 2.0, 1.0)


def test_every_format_has_a_suffix_of_its_own() -> None:
    assert len({one.suffix for one in FORMATS.values()}) == len(FORMATS) == 7
    with pytest.raises(KeyError):
        render(HELLO, "docx", "a.wav")


def test_text_is_one_line() -> None:
    assert render(HELLO, "text", "a.wav") == HELLO.text + "\n"
    assert render(SILENCE, "text", "a.wav") == "\n"


def test_json_has_every_field() -> None:
    found = json.loads(render(HELLO, "json", "folder/a.wav"))
    line = render(HELLO, "jsonl", "folder/a.wav")
    assert json.loads(line) == found and line.count("\n") == 1
    assert found.pop("audio") == "folder/a.wav"
    (segment,) = found["segments"]
    assert list(segment) == ["start", "end", "text", "words"]
    words = [Word(**one) for one in segment["words"]]
    tokens = [Token(**one) for one in found["tokens"]]
    assert words == [replace(one, end=round(one.end, 4)) for one in HELLO.words]
    assert tokens == [replace(one, end=round(one.end, 4)) for one in HELLO.tokens]
    assert not re.search(r"\.\d{5}", line)
    assert (found["text"], found["duration"], found["frame_reduction"]) == (HELLO.text, 4.5, 0.9)


def test_json_without_segments_has_one_of_all_words() -> None:
    found = json.loads(render(replace(HELLO, segments=[]), "json", "a.wav"))
    assert found["segments"] == json.loads(render(HELLO, "json", "a.wav"))["segments"]
    assert json.loads(render(SILENCE, "json", "a.wav"))["segments"] == []
    unspaced = json.loads(render(Transcript("HELLO", [], 4.0), "json", "a.wav"))["segments"]
    assert unspaced == [{"start": 0.0, "end": 4.0, "text": "HELLO", "words": []}]


def test_json_tells_what_made_it() -> None:
    source = Source("a.wav", settings={"model": "an4", "options": {"beam": 4}})
    found = json.loads(render(HELLO, "jsonl", source))
    assert (found["audio"], found["model"], found["options"]) == ("a.wav", "an4", {"beam": 4})


def test_srt_is_read_back() -> None:
    (cue,) = srt.parse(render(HELLO, "srt", "a.wav"))
    assert cue.content == HELLO.text
    assert (cue.index, cue.start.total_seconds(), cue.end.total_seconds()) == (1, 1.0, 3.0)
    assert render(SILENCE, "srt", "a.wav") == ""
    arrow = transcript_of(spoken("A ---> B"), 3.0)
    (cue,) = srt.parse(render(arrow, "srt", "a.wav"))
    assert "-->" not in cue.content


def test_vtt_is_read_back_and_escaped() -> None:
    content = render(HELLO, "vtt", "a.wav")
    assert "OH &amp; &lt;HELLO&gt;" in content
    (cue,) = webvtt.from_buffer(io.StringIO(content)).captions
    assert (cue.start, cue.end) == ("00:00:01.000", "00:00:03.000")
    assert cue.text in (HELLO.text, 'OH &amp; &lt;HELLO&gt; "YOU" \'LL')
    assert webvtt.from_buffer(io.StringIO(render(SILENCE, "vtt", "a.wav"))).captions == []


def test_ctm_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "all.ctm"
    path.write_text(render(HELLO, "ctm", "some folder/my talk.wav"), encoding="utf-8")
    talk = SupervisionSegment("1", recording_id="my_talk", start=0, duration=4.5)
    read = SupervisionSet.from_segments([talk]).with_alignment_from_ctm(path)["1"].alignment["word"]
    assert [one.symbol for one in read] == [one.text for one in HELLO.words]
    assert [one.start for one in read] == pytest.approx([one.start for one in HELLO.words])
    assert [one.end for one in read] == pytest.approx([one.end for one in HELLO.words])
    assert {one.score for one in read} == {0.9}
    assert render(SILENCE, "ctm", "a.wav") == ""
    second = render(HELLO, "ctm", Source("in/a.wav", id="in/my talk", channel=2))
    assert second.startswith("in/my_talk 2 ")


def read_textgrid(transcript: Transcript, path: Path) -> tgt.TextGrid:
    path.write_text(render(transcript, "textgrid", "a.wav"), encoding="utf-8")
    return tgt.io.read_textgrid(path, include_empty_intervals=True)


def test_textgrid_is_read_back(tmp_path: Path) -> None:
    grid = read_textgrid(HELLO, tmp_path / "a.TextGrid")
    assert grid.get_tier_names() == ["words", "tokens"]
    assert (grid.start_time, grid.end_time) == (0.0, 4.5)
    said = [one for one in grid.get_tier_by_name("words") if one.text]
    assert [one.text for one in said] == [one.text for one in HELLO.words]
    assert [float(one.start_time) for one in said] == pytest.approx(
        [one.start for one in HELLO.words]
    )
    silent = read_textgrid(SILENCE, tmp_path / "b.TextGrid").get_tier_by_name("words")
    assert [(one.text, one.start_time, one.end_time) for one in silent] == [("", 0.0, 2.0)]


def test_textgrid_gives_tokens_of_one_frame_an_interval_each(tmp_path: Path) -> None:
    tokens = [Token("你", 1.0, 1.0, 0.9), Token("好", 1.0, 1.3, 0.9), Token("吗", 2.0, 2.0, 0.9)]
    words = [Word(one.text, one.start, one.end, one.confidence) for one in tokens]
    grid = read_textgrid(Transcript("你好吗", tokens, 2.0, 0.9, words), tmp_path / "a.TextGrid")
    said = [one for one in grid.get_tier_by_name("tokens") if one.text]
    assert [one.text for one in said] == ["你", "好", "吗"]
    assert said[0].start_time == 1.0 and said[-1].end_time == 2.0


def test_cues_break_at_pauses() -> None:
    words = [*spoken("TURN ON THE LIGHT"), *spoken("AND GO HOME", start=2.4)]
    assert [cue.lines for cue in cues_of(transcript_of(words, 5.0))] == [
        ("TURN ON THE LIGHT",),
        ("AND GO HOME",),
    ]
    hurried = [*spoken("OH", duration=0.2), *spoken("WELL THEN", start=0.75)]
    assert [cue.lines for cue in cues_of(transcript_of(hurried, 5.0))] == [("OH WELL THEN",)]


def test_cues_keep_the_limits_of_subtitles() -> None:
    words = spoken("SEVENTY EIGHT THOUSAND AND TWENTY THREE " * 20, seconds=0.35)
    cues = cues_of(transcript_of(words, 60.0))
    assert " ".join(" ".join(cue.lines) for cue in cues) == " ".join(one.text for one in words)
    for cue, following in pairwise(cues):
        assert following.start - cue.end >= 80
    for cue in cues:
        assert len(cue.lines) <= 2 and all(len(line) <= 42 for line in cue.lines)
        assert 800 <= cue.end - cue.start <= 7000


def test_han_counts_double_and_needs_no_spaces() -> None:
    words = spoken(
        " ".join("今天天气很好我们一起去公园散步然后回家做饭吃完了再看电视"), seconds=0.2
    )
    cues = cues_of(transcript_of(words, 10.0))
    assert "".join("".join(cue.lines) for cue in cues) == "".join(one.text for one in words)
    assert all(len(line) <= 16 for cue in cues for line in cue.lines)
    assert max(len(line) for cue in cues for line in cue.lines) > 10
    assert width("好A é") == 5 and width("é") == 1


def test_a_short_word_is_seen_long_enough_where_there_is_room() -> None:
    alone = cues_of(transcript_of(spoken("NO", duration=0.1, start=1.0), 5.0))
    assert [(cue.start, cue.end) for cue in alone] == [(1000, 1800)]
    at_the_end = cues_of(transcript_of(spoken("NO", duration=0.1, start=1.9), 2.0))
    assert [(cue.start, cue.end) for cue in at_the_end] == [(1200, 2000)]


def test_text_without_words_is_spread_over_the_recording() -> None:
    (cue,) = srt.parse(render(Transcript("HELLO YOU", [], 4.0), "srt", "a.wav"))
    assert (cue.content, cue.start.total_seconds(), cue.end.total_seconds()) == ("HELLO YOU", 0, 4)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("コンピューターのメニュー" * 6, "ーュッ", ""),
        ("แม่ไปตลาดและเขาโทรใหม่" * 6, "", "เแโใไ"),
        ("我看っ" + "ー" * 70, "", ""),
    ],
)
def test_lines_break_where_a_script_allows_it(text: str, first: str, last: str) -> None:
    """No line begins with a mark of the character before it, or ends with a vowel of the next."""
    words = [Word(one, 0.1 * n, 0.1 * n + 0.1, 0.9) for n, one in enumerate(mixed_words(text))]
    transcript = Transcript(text, [], 10.0, 0.9, words, [Segment(text, 0.0, 10.0, [], words)])
    lines = [line for cue in cues_of(transcript) for line in cue.lines]
    assert "".join(lines) == text
    assert max(map(width, lines)) <= COLUMNS
    assert not {line[0] for line in lines} & set(first)
    assert not {line[-1] for line in lines} & set(last)


def shown(text: str, seconds: float, gaps: dict[int, float] | None = None) -> Transcript:
    """The words of a displayed text, and silences after some of them, by their number."""
    tokens, time = list[Token](), 0.0
    for number, piece in enumerate(re.findall(r"\s*(?:[A-Za-z'-]+|.)", text)):
        tokens.append(Token(piece.replace(" ", "▁"), time, time + seconds, 0.9))
        time += seconds + (gaps or {}).get(number, 0.0)
    found = words(tokens)
    return Transcript(text, tokens, time, 0.9, found, [Segment(text, 0.0, time, tokens, found)])


def test_lines_and_cues_of_displayed_text_end_with_punctuation() -> None:
    english = "We found Mr. Smith, the old teacher, at home. Nobody else was there when we came in."
    (first, second) = cues_of(shown(english, 0.25))
    assert first.lines == ("We found Mr. Smith,", "the old teacher, at home.")
    assert second.lines == ("Nobody else was there when we came in.",)
    chinese = "今天天气很好，我们一起去公园散步，然后回家做饭。吃完了，再看电视。"
    cues = cues_of(shown(chinese, 0.2))
    assert "".join("".join(cue.lines) for cue in cues) == chinese
    assert [cue.lines[-1][-1] for cue in cues] == ["。", "。"]
    (cue,) = cues_of(shown(chinese[4:], 0.2))
    assert cue.lines == ("很好，我们一起去公园散步，", "然后回家做饭。吃完了，再看电视。")


def test_a_short_pause_after_a_sentence_ends_a_cue() -> None:
    text = "We went home. It was late."
    assert len(cues_of(shown(text, 0.4, {3: 0.3}))) == 2
    assert len(cues_of(shown(text, 0.4, {3: 0.1}))) == 1
    assert len(cues_of(shown(text, 0.4, {2: 0.3}))) == 1
    quoted = "He said “we went home.” It was late."
    assert len(cues_of(shown(quoted, 0.3, {7: 0.3}))) == 2


def test_no_line_begins_with_punctuation_or_ends_with_an_opening_mark() -> None:
    for text in ("他说，《红楼梦》是一本书。" * 4, "“好！”" * 12, "我看（书）、报。" * 6):
        without_times = Transcript(text, [], 12.0)
        for transcript in (shown(text, 0.1), *([] if text[0] == "“" else [without_times])):
            lines = [line for cue in cues_of(transcript) for line in cue.lines]
            assert "".join(lines) == text and len(lines) > 2
            assert not {line[0] for line in lines} & set("，》。！”）、")
            assert not {line[-1] for line in lines} & set("《“（")
