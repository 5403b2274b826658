"""Transcripts as a teacher writes them."""

from __future__ import annotations

import torch

from fixtures.tiny_pretrained import byte_tokenizer
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer
from research.whisper_teacher import SmallerVocabulary, display_texts


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


def test_soft_targets_are_written_in_the_tokens_of_a_smaller_decoder() -> None:
    teacher, decoder = (
        DecoderTokenizer(byte_tokenizer(merges), 300) for merges in (("a b", "x y"), ("a b",))
    )
    smaller = SmallerVocabulary(teacher, decoder)
    old, new = (one.vocabulary for one in (teacher, decoder))
    assert old["<|endoftext|>"] != new["<|endoftext|>"]
    tokens = torch.tensor([[old["ab"], old["xy"]], [old["<|endoftext|>"], old["c"]]])
    found = smaller("cab", tokens, torch.tensor([[0.5, 0.25], [0.75, 0.0]]))
    assert found is not None
    ids, probabilities = found
    assert [row[0] for row in ids.tolist()] == [new["ab"], new["<|endoftext|>"]]
    assert probabilities.tolist() == [[0.5, 0.0], [0.75, 0.0]]
    assert ids[1, 1] == new["c"]
    assert smaller("xy", tokens, torch.ones(2, 2)) is None  # two tokens, where the teacher has one
