"""Transcripts as a teacher writes them."""

from __future__ import annotations

from research.whisper_teacher import display_texts


def test_words_stay_and_case_and_punctuation_are_the_teachers() -> None:
    written = "Call Mary, I said. What 4 is it? Three bears ran!"
    found = display_texts(["CALL MARY I SAID", "WHAT FOR IS IT", "THREE PEARS RAN"], written)
    assert found == ["Call Mary, I said.", "What for is it?", "Three pears ran!"]


def test_what_the_teacher_missed_is_written_plainly() -> None:
    assert display_texts(["I'M HERE", "YES"], "") == ["I'm here.", "Yes."]
    assert display_texts(["", "YES ,"], "Thank you.") == ["", "Yes."]


def test_chinese_keeps_only_the_punctuation_inside() -> None:
    found = display_texts(["今天很好我们走", "去吗"], "今天很好,我们走。去吗?")
    assert found == ["今天很好，我们走", "去吗？"]
