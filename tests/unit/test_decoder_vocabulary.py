"""The vocabulary of a pretrained decoder: lost merges, and tokens of other languages left out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.errors import refused
from fixtures.tiny_pretrained import WHOLE_WHISPER, byte_tokenizer
from keyframe_asr.errors import ModelError
from keyframe_asr.text.decoder_tokenizer import ENGLISH_ONLY_SIZE, DecoderTokenizer
from keyframe_asr.text.decoder_vocabulary import Pruned, pruned, with_lost_merges

SIZE: int = WHOLE_WHISPER["vocab_size"]

THE = ["Ġ t", "Ġt h", "Ġth e"]
QUE = ["q u", "Ġ qu", "Ġqu e"]
TODAY = ["ä »", "ä» Ĭ", "å ¤", "å¤ ©", "ä»Ĭ å¤©", "Ĭ å"]
"""今天, its characters, their first bytes, and the end of one with the beginning of the next."""

PE = ["Ð ¿", "Ð¿ Ð"]


@pytest.fixture(scope="module")
def tokenizer() -> DecoderTokenizer:
    return DecoderTokenizer(byte_tokenizer([*THE, *QUE, *TODAY, *PE]), SIZE)


@pytest.fixture(scope="module")
def smaller(tokenizer: DecoderTokenizer) -> Pruned:
    return pruned(tokenizer, ["en", "zh"])


def merged(found: DecoderTokenizer) -> list[str]:
    return [merge.replace(" ", "") for merge in json.loads(found.content())["model"]["merges"]]


@pytest.mark.parametrize(
    ("languages", "kept"),
    [
        (["en"], [*THE, *QUE]),
        (["zh-CN"], TODAY),
        (["zh", "en"], [*THE, *QUE, *TODAY]),
    ],
)
def test_tokens_of_other_languages_go(
    tokenizer: DecoderTokenizer, languages: list[str], kept: list[str]
) -> None:
    found = pruned(tokenizer, languages)
    assert merged(found.tokenizer) == [one.replace(" ", "") for one in kept]
    symbols = 4 + len(languages)
    assert found.tokenizer.vocab_size == len(found.kept) == 256 + len(kept) + symbols
    assert list(found.kept) == sorted(found.kept)
    for language in languages:
        prompt = found.tokenizer.prompt(language)
        assert tuple(found.kept[one] for one in prompt) == tokenizer.prompt(language)
    assert found.kept[found.tokenizer.end] == tokenizer.end
    assert set(found.tokenizer.suppressed) == {
        place for place, old in enumerate(found.kept) if old in tokenizer.suppressed
    }


@given(text=st.text("theqr '?9今天的。…", max_size=12))
def test_texts_of_the_languages_have_the_same_tokens(
    tokenizer: DecoderTokenizer, smaller: Pruned, text: str
) -> None:
    ids = smaller.tokenizer.encode(text)
    assert [smaller.kept[one] for one in ids] == tokenizer.encode(text)
    assert smaller.tokenizer.decode(ids) == tokenizer.decode(tokenizer.encode(text))


@pytest.mark.parametrize("text", ["the папа", "naïve ♪ 今天", "ひ 😀"])
def test_other_texts_can_still_be_spelled(smaller: Pruned, text: str) -> None:
    found = smaller.tokenizer
    assert found.decode(found.encode(text)) == text


@pytest.mark.parametrize(
    ("words", "kept"), [(["THE", "Q"], [*THE, *TODAY]), (["que"], ["Ġ t", *QUE, *TODAY])]
)
def test_letters_that_no_word_needs_go(
    tokenizer: DecoderTokenizer, words: list[str], kept: list[str]
) -> None:
    found = pruned(tokenizer, ["en", "zh"], words)
    assert merged(found.tokenizer) == [one.replace(" ", "") for one in kept]


def test_vocabulary_for_english_only_needs_no_symbol_of_a_language() -> None:
    english = DecoderTokenizer(byte_tokenizer(THE), ENGLISH_ONLY_SIZE)
    found = pruned(english, ["en"])
    assert len(found.kept) == 256 + len(THE) + 3
    assert [found.kept[one] for one in found.tokenizer.prompt("en")] == list(english.prompt("en"))
    again = pruned(found.tokenizer, ["en"])
    assert again.kept == tuple(range(len(found.kept)))


def test_unknown_languages_are_refused(tokenizer: DecoderTokenizer) -> None:
    with refused(ModelError, "'tlh'"):
        pruned(tokenizer, ["en", "tlh"])
    with refused(ModelError, "'de'"):  # which the decoder does not know
        pruned(tokenizer, ["de"])


def test_a_lost_merge_is_restored_in_its_place() -> None:
    whole = byte_tokenizer(["Ġ t", "Ġ a", "Ġt h", "Ġth e"])
    content = json.loads(whole)
    content["model"]["merges"] = content["model"]["merges"][1:]
    broken = json.dumps(content).encode()
    before, after = (DecoderTokenizer(one, SIZE) for one in (broken, with_lost_merges(broken)))
    assert before.pieces(before.encode("at the")) == ["▁a", "t", "▁", "t", "h", "e"]
    assert after.pieces(after.encode("at the")) == ["▁a", "t", "▁the"]
    assert merged(after) == ["Ġt", "Ġa", "Ġth", "Ġthe"]


def test_a_whole_file_stays_as_it_is() -> None:
    whole = byte_tokenizer(["Ġ t", "Ġ a"])
    assert with_lost_merges(whole) is whole


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"model": {"vocab": {}, "merges": ["a"]}}'])
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(ModelError):
        with_lost_merges(content)
