"""Where two segments meet, no token is lost and none is there twice."""

from __future__ import annotations

import random

import pytest

from keyframe_asr.config.text_choices import Separation
from keyframe_asr.inference.joining import RecognisedSegment, join_segments
from keyframe_asr.inference.segmentation import SegmentBounds
from keyframe_asr.results import Token, Transcript, Word
from keyframe_asr.text.scripts import mixed_words

RATE = 16_000


def part(
    said: str, start: float, end: float, audio_start: float | None = None, shift: float = 0.0
) -> RecognisedSegment:
    """`said` is like "▁A@0.5 ▁B@1.0": tokens with their times in the recording."""
    audio_start = start if audio_start is None else audio_start
    tokens = []
    for one in said.split():
        text, time = one.split("@")
        begin = float(time) + shift - audio_start
        tokens.append(Token(text, begin, begin + 0.3, 0.9))
    text = " ".join("".join(token.text for token in tokens).replace("▁", " ").split())
    words = [Word(one.text.strip("▁"), one.start, one.end, 0.9) for one in tokens]
    places = (round(seconds * RATE) for seconds in (start, end, audio_start))
    bounds = SegmentBounds(*places, continued=audio_start != start)
    return RecognisedSegment(bounds, Transcript(text, tokens, end - audio_start, 0.8, words))


def joined(
    *parts: RecognisedSegment, duration: float = 60.0, separation: Separation = "spaces"
) -> Transcript:
    found = join_segments(parts, duration, separation)
    starts = [token.start for token in found.tokens]
    assert starts == sorted(starts)
    assert all(0 <= one.start <= one.end <= duration for one in (*found.tokens, *found.words))
    assert [word.text for word in found.words] == mixed_words(found.text)
    assert found.tokens == [token for segment in found.segments for token in segment.tokens]
    return found


def test_pauses_share_nothing() -> None:
    found = joined(part("▁A@1 ▁B@2", 0.5, 3), part("", 4, 5), part("▁B@6.5 ▁C@8", 6, 9))
    assert found.text == "A B B C"
    assert [token.start for token in found.tokens] == [1, 2, 6.5, 8]
    assert [(one.text, one.start, one.end) for one in found.segments] == [
        ("A B", 1.0, 2.3),
        ("B C", 6.5, 8.3),
    ]
    assert found.duration == 60.0
    assert abs(found.frame_reduction - 0.8) < 1e-9


def test_chinese_has_no_spaces_between_segments() -> None:
    hello, world = part("你@1 好@2", 0.5, 3), part("世@5 界@6", 4, 7)
    latin = part("▁OK@5", 4, 7)
    assert joined(hello, world, separation="none").text == "你好世界"
    assert joined(hello, latin, separation="none").text == "你好OK"
    assert joined(hello, world, separation="mixed").text == "你好世界"
    assert joined(hello, latin, separation="mixed").text == "你好OK"
    assert joined(hello, latin).text == "你好 OK"
    assert joined(part("▁I@1", 0.5, 3), latin, separation="mixed").text == "I OK"


def test_a_cut_between_a_letter_and_its_mark_leaves_them_together() -> None:
    left, right = part("น@9", 0, 10), part("้@10.1 ำ@10.2 ก@10.4", 10, 20, audio_start=9.5)
    found = joined(left, right, separation="none")
    assert found.text == "น้ำก"
    assert [segment.text for segment in found.segments] == ["น้ำ", "ก"]


def test_each_side_of_a_cut_gives_its_own() -> None:
    left = part("▁A@8.5 ▁B@9.5 ▁C@10.3 ▁D@10.8", 0, 10)
    right = part("▁B@9.5 ▁C@10.3 ▁D@10.8 ▁E@11.4", 10, 20, audio_start=9)
    found = joined(left, right)
    assert found.text == "A B C D E"
    assert [segment.text for segment in found.segments] == ["A B", "C D E"]


def test_a_token_on_the_cut_is_kept_once_however_its_times_differ() -> None:
    for early, late in ((9.96, 10.04), (9.9, 10.02), (9.99, 10.0)):
        both = joined(
            part(f"▁A@9.2 ▁B@{early} ▁C@10.8", 0, 10),
            part(f"▁A@9.2 ▁B@{late} ▁C@10.8 ▁D@12", 10, 20, audio_start=9),
        )
        assert both.text == "A B C D"
        neither = joined(
            part(f"▁A@9.2 ▁B@{late} ▁C@10.8", 0, 10),
            part(f"▁A@9.2 ▁B@{early} ▁C@10.8 ▁D@12", 10, 20, audio_start=9),
        )
        assert neither.text == "A B C D"


def test_what_is_said_twice_stays_twice() -> None:
    left = part("▁A@9.2 ▁A@9.7 ▁A@10.4", 0, 10)
    right = part("▁A@9.2 ▁A@9.7 ▁A@10.4 ▁A@11", 10, 20, audio_start=9)
    assert joined(left, right).text == "A A A A"
    assert joined(part("▁A@9.5", 0, 10), part("▁A@10.5", 10, 20, audio_start=9)).text == "A A"


def test_a_word_across_a_cut_stays_one_word() -> None:
    left = part("▁HEL@9.7 LO@10.2 ▁X@10.9", 0, 10)
    right = part("▁HEL@9.7 LO@10.2 ▁X@10.9", 10, 20, audio_start=9)
    found = joined(left, right)
    assert found.text == "HELLO X"
    assert [(word.text, word.start) for word in found.words] == [("HELLO", 9.7), ("X", 10.9)]


@pytest.mark.parametrize(
    ("left", "right", "whole"),
    [("你@9", "A@10.4 B@10.8", "你AB"), ("3@9", "年@10.4", "3年"), ("你@9", "▁A@10.4", "你 A"),
     ("▁A▁@9", "你@10.4", "A 你"), ("▁A@9", "B@10.4 ▁C@10.8", "AB C")],
)  # fmt: skip
def test_a_cut_within_speech_leaves_no_trace(left: str, right: str, whole: str) -> None:
    found = join_segments([part(left, 0, 10), part(right, 10, 20, audio_start=9.5)], 60.0)
    assert found.text == whole
    tokens = left.split() + right.split()
    assert whole == " ".join("".join(one.split("@")[0] for one in tokens).replace("▁", " ").split())


def test_empty_sides() -> None:
    said, silent = part("▁A@9.5", 0, 10), part("", 0, 10)
    assert joined(said, part("", 10, 20, audio_start=9)).text == "A"
    assert joined(silent, part("▁B@10.5", 10, 20, audio_start=9)).text == "B"
    assert joined(silent, part("", 10, 20, audio_start=9)) == Transcript("", [], 60.0, 0.8)
    assert join_segments([], 3.0) == Transcript("", duration=3.0)


def test_words_are_those_of_the_text_however_pieces_fall_around_a_cut() -> None:
    generator = random.Random(1)
    for _ in range(300):
        pieces = [
            (generator.choice(["▁A", "▁B", "C", "▁DE", "F"]), 0.4 * number + 0.3)
            for number in range(50)
        ]
        pieces[0] = ("▁A", 0.3)

        def heard(begin: float, end: float, chosen: list[tuple[str, float]]) -> str:
            kept = sorted(
                (time + generator.uniform(-0.08, 0.08), text)
                for text, time in chosen
                if begin <= time < end and generator.random() > 0.15
            )
            return " ".join(f"{text}@{max(begin, time)}" for time, text in kept)

        left, right = heard(0, 11, pieces), heard(9.5, 20.5, pieces)
        found = join_segments([part(left, 0, 10), part(right, 10, 20.5, audio_start=9.5)], 21.0)
        assert " ".join(word.text for word in found.words) == found.text
        starts = [word.start for word in found.words]
        assert starts == sorted(starts)
        assert found.words == [word for segment in found.segments for word in segment.words]
