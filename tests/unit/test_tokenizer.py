"""Tokenizers: fixed special ids, exact round trips, clear refusals, the same result every time."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import refused
from keyframe_asr.config.recipe import TokenizerConfig
from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.errors import ManifestError, ModelError, RecipeError
from keyframe_asr.text.forms import normalise_text
from keyframe_asr.text.tokenizer import (
    BLANK,
    END,
    UNKNOWN,
    CharacterTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)

CHARACTERS = TokenizerConfig(kind="characters")


def small_corpus(distinct: int = 96, sentences: int = 120) -> list[str]:
    """A few hundred words, `distinct` different ones, like a corpus of spelling and numbers."""
    source = random.Random(1)
    words = {"".join(source.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ'", k=source.randint(1, 8)))}
    while len(words) < distinct:
        words.add("".join(source.choices("AEIOUBCDRSTLN", k=source.randint(1, 8))))
    ordered = sorted(words)
    texts = [" ".join(source.choices(ordered, k=source.randint(1, 5))) for _ in range(sentences)]
    return [*texts, "THE QUICK BROWN FOX JUMPS OVER A LAZY DOG'S VEXED WIZARD"]


def sentencepiece_config(
    vocab_size: int | None, model_type: Literal["unigram", "bpe", "word", "char"] = "unigram"
) -> TokenizerConfig:
    return TokenizerConfig(kind="sentencepiece", vocab_size=vocab_size, model_type=model_type)


@pytest.fixture(params=["characters", "unigram", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "characters":
        return train_tokenizer(small_corpus(), CHARACTERS)
    return train_tokenizer(small_corpus(), sentencepiece_config(60, request.param))


def test_special_ids(tokenizer: Tokenizer) -> None:
    assert (BLANK, UNKNOWN, END) == (0, 1, 2)
    assert [tokenizer.piece(token) for token in range(3)] == ["<blank>", "<unk>", "<sos/eos>"]


def test_round_trip_uses_real_tokens_only(tokenizer: Tokenizer) -> None:
    for text in small_corpus():
        ids = tokenizer.encode(text)
        assert all(END < token < tokenizer.vocab_size for token in ids)
        assert tokenizer.decode(ids) == text


def test_unknown_symbol(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("A你B")
    assert ids.count(UNKNOWN) == 1
    assert tokenizer.decode(ids) == "A⁇B"


def test_decode_ignores_blank_and_end(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("FOX")
    assert tokenizer.decode([END, BLANK, *ids, BLANK, END]) == "FOX"
    assert tokenizer.decode([]) == tokenizer.decode([BLANK, END]) == ""


def test_empty_text_and_white_space(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("") == tokenizer.encode(" \t\n ") == []
    assert tokenizer.encode("  A \n FOX ") == tokenizer.encode("A FOX")


def test_a_special_symbol_in_text_is_not_a_special_token(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("<blank> <sos/eos>")
    assert BLANK not in ids
    assert END not in ids


def save(tokenizer: Tokenizer, folder: Path) -> None:
    (folder / tokenizer.file_name).write_bytes(tokenizer.content())


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save(tokenizer, tmp_path)
    again = load_tokenizer(tmp_path)
    assert type(again) is type(tokenizer)
    assert again.vocab_size == tokenizer.vocab_size
    assert [again.encode(text) for text in small_corpus()] == [
        tokenizer.encode(text) for text in small_corpus()
    ]
    assert len(list(tmp_path.iterdir())) == 1, "a temporary file was left behind"


def test_pickling(tokenizer: Tokenizer) -> None:
    again: Tokenizer = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode("LAZY DOG'S FOX") == tokenizer.encode("LAZY DOG'S FOX")


@pytest.mark.parametrize("token", [-1, 10_000])
def test_id_outside_vocabulary(tokenizer: Tokenizer, token: int) -> None:
    with refused(IndexError, token):
        tokenizer.decode([token])


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
@pytest.mark.parametrize("vocab_size", [40, 60, 100, 150, 300])
def test_small_text_allows_any_vocabulary_size(
    vocab_size: int, model_type: Literal["unigram", "bpe"]
) -> None:
    tokenizer = train_tokenizer(small_corpus(), sentencepiece_config(vocab_size, model_type))
    assert 32 <= tokenizer.vocab_size <= vocab_size
    if vocab_size <= 100:
        assert tokenizer.vocab_size == vocab_size
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in small_corpus())


def test_larger_vocabulary_gives_fewer_tokens() -> None:
    lengths = []
    for vocab_size in (40, 60, 100):
        tokenizer = train_tokenizer(small_corpus(), sentencepiece_config(vocab_size))
        lengths.append(sum(len(tokenizer.encode(text)) for text in small_corpus()))
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < 0.7 * lengths[0]


def test_sentencepiece_keeps_word_boundaries_in_pieces() -> None:
    tokenizer = train_tokenizer(small_corpus(), sentencepiece_config(60))
    pieces = [tokenizer.piece(token) for token in tokenizer.encode("FOX DOG")]
    assert "".join(pieces) == "▁FOX▁DOG"


def test_long_texts_are_not_dropped() -> None:
    texts = ["AB " * 3000 + "XYZ"]
    tokenizer = train_tokenizer(texts, sentencepiece_config(12))
    assert UNKNOWN not in tokenizer.encode("AB XYZ")


@pytest.mark.parametrize("config", [sentencepiece_config(60), sentencepiece_config(60, "bpe")])
def test_training_is_deterministic(config: TokenizerConfig) -> None:
    first, second = (train_tokenizer(small_corpus(), config) for _ in range(2))
    assert first.content() == second.content()


def test_sentencepiece_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    train_tokenizer(small_corpus(), sentencepiece_config(300))
    assert capfd.readouterr() == ("", "")


def test_vocabulary_smaller_than_the_characters_is_refused() -> None:
    with refused(RecipeError, "tokenizer.vocab_size", 20, 31):
        train_tokenizer(small_corpus(), sentencepiece_config(20))
    train_tokenizer(small_corpus(), sentencepiece_config(31))


def test_sentencepiece_without_vocabulary_size_is_refused() -> None:
    with refused(RecipeError, "tokenizer.vocab_size"):
        train_tokenizer(small_corpus(), sentencepiece_config(None))


@pytest.mark.parametrize("config", [CHARACTERS, sentencepiece_config(60)])
def test_empty_texts_are_refused(config: TokenizerConfig) -> None:
    with refused(ManifestError):
        train_tokenizer(["", "  "], config)


def test_characters_are_sorted_and_one_a_line(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["打开 灯", "灯b"], CHARACTERS)
    save(tokenizer, tmp_path)
    lines = (tmp_path / "tokenizer.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["<blank>", "<unk>", "<sos/eos>", "<space>", "b", "开", "打", "灯"]
    assert tokenizer.encode("灯 开") == [7, 3, 5]


def test_character_vocabulary_keeps_the_most_frequent() -> None:
    texts = ["ABCDEFG", "CDEFG", "CDEFG"]
    tokenizer = train_tokenizer(texts, TokenizerConfig(kind="characters", vocab_size=8))
    assert tokenizer.vocab_size == 8
    assert tokenizer.encode("ABCDEFG") == [UNKNOWN, UNKNOWN, 3, 4, 5, 6, 7]


@given(st.text(st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="▁")))
def test_characters_round_trip_any_text(text: str) -> None:
    collapsed = " ".join(text.split())
    tokenizer = CharacterTokenizer(sorted(set(collapsed)))
    assert tokenizer.decode(tokenizer.encode(text)) == collapsed


def test_repeated_symbols_are_refused() -> None:
    with refused(ValueError, "symbols"):
        CharacterTokenizer(["A", "A"])


def test_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    with refused(ModelError, f"{tmp_path}: ", "tokenizer.txt", "tokenizer.model"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.txt", b"A\nB\n"),
        ("tokenizer.txt", b"<blank>\n<unk>\n<sos/eos>\nA\nB"),
        ("tokenizer.txt", b"<blank>\n<unk>\n<sos/eos>\nA\nAB\n"),
        ("tokenizer.txt", b"<blank>\n<unk>\n<sos/eos>\nA\nA\n"),
        ("tokenizer.txt", b"\xff\xfe"),
        ("tokenizer.model", b""),
        ("tokenizer.model", b"this is no model"),
    ],
)
def test_damaged_tokenizer_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with refused(ModelError, f"{tmp_path / name}: "):
        load_tokenizer(tmp_path)


def test_truncated_sentencepiece_model_is_refused(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(small_corpus(), sentencepiece_config(60))
    assert isinstance(tokenizer, SentencePieceTokenizer)
    save(tokenizer, tmp_path)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(path.read_bytes()[:-7])
    with refused(ModelError, f"{path}: "):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  world!", "HELLO WORLD"),
        ("don’t stop", "DON'T STOP"),
        ("mother-in-law", "MOTHER IN LAW"),
        ("café №5", "CAFE NO"),
        ("  ", ""),
    ],
)
def test_normalise_english(text: str, expected: str) -> None:
    assert normalise_text(text, TEXT_FORMS["english"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("打开 空调。", "打开空调"),
        ("ｋｔｖ，好 吗?", "KTV好吗"),
        ("iPhone 十五\u3000《书》\u200b", "IPHONE十五书"),
        ("5%～", "5"),
        ("", ""),
    ],
)
def test_normalise_mandarin(text: str, expected: str) -> None:
    assert normalise_text(text, TEXT_FORMS["mandarin"]) == expected


@given(st.text(max_size=30))
def test_normalised_english_holds_only_its_alphabet_and_stays(text: str) -> None:
    normal = normalise_text(text, TEXT_FORMS["english"])
    assert set(normal) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    assert normal == " ".join(normal.split())
    assert normalise_text(normal, TEXT_FORMS["english"]) == normal
