"""The tokens of a pretrained decoder, and when they are spoken."""

from __future__ import annotations

import pytest

from fixtures.tiny_pretrained import WHISPER_SYMBOLS, WHOLE_WHISPER, byte_tokenizer
from keyframe_asr.decoding.text_positions import positions_by_text
from keyframe_asr.errors import ModelError
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer

SIZE: int = WHOLE_WHISPER["vocab_size"]
START, ENGLISH, CHINESE, TASK, NO_TIMES, TIME = (
    256 + WHISPER_SYMBOLS.index(name) for name in WHISPER_SYMBOLS[1:]
)


@pytest.fixture(scope="module")
def tokenizer() -> DecoderTokenizer:
    return DecoderTokenizer(byte_tokenizer(), SIZE)


@pytest.mark.parametrize("text", ["hello world", "Hello, World.", "今天 hello", "naïve café"])
def test_text_survives(tokenizer: DecoderTokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode([*ids, tokenizer.end]) == text
    assert "".join(tokenizer.pieces(ids)).replace("▁", " ").strip() == text


def test_first_words_have_a_space_and_characters_none(tokenizer: DecoderTokenizer) -> None:
    assert tokenizer.pieces(tokenizer.encode(" a b")) == ["▁", "a", "▁", "b"]
    assert tokenizer.pieces(tokenizer.encode("今b")) == ["", "", "今", "b"]
    assert tokenizer.encode("  ") == []


def test_cut_off_characters_are_left_out(tokenizer: DecoderTokenizer) -> None:
    ids = tokenizer.encode("天今")[:5]
    assert tokenizer.pieces(ids) == ["", "", "天", "", ""]
    assert tokenizer.decode(ids) == "天"


@pytest.mark.parametrize(
    ("language", "token"),
    [("en", ENGLISH), ("en-GB", ENGLISH), ("zh-CN", CHINESE), ("cmn", CHINESE)],
)
def test_prompt(tokenizer: DecoderTokenizer, language: str, token: int) -> None:
    assert tokenizer.prompt(language) == (START, token, TASK, NO_TIMES)


def test_unknown_language_is_refused(tokenizer: DecoderTokenizer) -> None:
    with pytest.raises(ModelError):
        tokenizer.prompt("tlh")


def test_prompt_of_an_english_whisper_names_no_language() -> None:
    assert DecoderTokenizer(byte_tokenizer(), 51_864).prompt("en") == (START, NO_TIMES)


def test_only_text_and_its_end_are_written(tokenizer: DecoderTokenizer) -> None:
    never = set(tokenizer.suppressed)
    assert {START, ENGLISH, TASK, NO_TIMES, TIME, SIZE - 1} <= never
    assert set(tokenizer.encode("[#(")[1:]) <= never
    assert not never & {tokenizer.end, *tokenizer.encode("hello, world. -it's 今天?!")}


def test_foreign_files_are_refused() -> None:
    for content in (b"{", byte_tokenizer().replace(b"<|endoftext|>", b"<|other|>")):
        with pytest.raises(ModelError):
            DecoderTokenizer(content, SIZE)
    with pytest.raises(ModelError):
        DecoderTokenizer(byte_tokenizer(), 256)


def test_letters_that_both_write_give_the_times() -> None:
    """Case and punctuation play no part; a token begins with its first letter."""
    heard = [("▁hel", 10), ("lo", 16), ("▁world", 40)]
    pieces = ["▁He", "llo", ",", "▁Wor", "ld", "."]
    assert positions_by_text(pieces, heard, (10, 40)) == (10, 14, 14, 40, 40, 40)


def test_letters_between_lie_between() -> None:
    heard = [("今", 5), ("很", 25), ("好", 30)]
    pieces = ["今", "天", "气", "很", "好"]
    assert positions_by_text(pieces, heard, (5, 30)) == (5, 12, 18, 25, 30)


def test_parts_of_a_character_are_where_it_is() -> None:
    assert positions_by_text(["a", "", "", "今", "b"], [("a", 1), ("今", 8), ("b", 9)], (1, 9)) == (
        1,
        8,
        8,
        8,
        9,
    )


@pytest.mark.parametrize("heard", [[], [("x", 7)]])
def test_another_text_gives_times_within_the_bounds(heard: list[tuple[str, int]]) -> None:
    found = positions_by_text(["!", "▁a", "b", "c", "?"], heard, (4, 20))
    assert list(found) == sorted(found)
    assert found[0] >= 4 and found[-1] <= 20
    assert positions_by_text([], heard, (4, 20)) == ()
    assert positions_by_text(["...", "!"], heard, (4, 20)) == (4, 4)
