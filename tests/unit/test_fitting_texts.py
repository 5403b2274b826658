"""Texts in the form of a model: what it cannot spell is counted, and left out as `prepare` does."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyframe_asr.config.text_choices import Digits
from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.data.corpora.preparation_options import PreparationOptions
from keyframe_asr.data.corpora.summary import read_summary
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.fitting_texts import fit_texts
from keyframe_asr.data.manifest import load_manifest, make_cut, text
from keyframe_asr.io.model_folder import find_model
from keyframe_asr.text.tokenizer import CharacterTokenizer, load_tokenizer


def cut(name: str, said: str):  # type: ignore[no-untyped-def]
    return make_cut(name, "", said, Path(f"/{name}.wav"), 16000)


def test_what_is_kept_and_what_is_lost() -> None:
    tokenizer = CharacterTokenizer(["A", "B", "C", " "])
    said = {"a": "a, b!", "b": "cab 42", "c": "abcx", "d": "xx ж", "e": "...", "f": "  "}
    fitted = fit_texts(
        [cut(*one) for one in said.items()], tokenizer, TEXT_FORMS["english"], model="mine"
    )
    assert [(one.id, text(one)) for one in fitted.cuts] == [("a", "A B")]
    assert sorted(fitted.left_out) == ["b", "c", "d", "e", "f"]
    lost = {one.symbol: (one.count, one.examples) for one in fitted.lost}
    assert lost["X"] == (3, ("c", "d")) and lost["ж"] == (1, ("d",)) and lost["4"] == (1, ("b",))
    assert fitted.lost[0].symbol == "X"
    assert len(fitted.line.splitlines()) == 1


@pytest.mark.parametrize(("digits", "kept"), [("refuse", []), ("keep", ["a"])])
def test_digits(digits: Digits, kept: list[str]) -> None:
    tokenizer = CharacterTokenizer([*"ABC 0123456789"])
    some = [cut("a", "abc 42"), cut("b", "abc 3.5")]
    fitted = fit_texts(some, tokenizer, TEXT_FORMS["english-digits"], digits)
    assert [one.id for one in fitted.cuts] == kept


def test_nothing_is_left_out_without_a_tokenizer() -> None:
    fitted = fit_texts([cut("a", "Straße")], None, TEXT_FORMS["generic"])
    assert len(fitted.cuts) == 1 and fitted.left_out == {} and fitted.line == ""


def test_synthetic_speech_for_a_model(tmp_path: Path) -> None:
    """It has the tokenizer of the model; whisper's features need no statistics."""
    folder = find_model("english-mandarin")
    lines = ("THE CAT SAT", "A DOG", "YES")
    options = PreparationOptions(tokenizer="english-mandarin")
    made = make_corpus(tmp_path, SyntheticCorpus("english", 3, 0, 0, lines=lines), options)
    summary = read_summary(tmp_path)
    assert summary is not None and summary.model == "english-mandarin" and not summary.statistics
    assert not (tmp_path / "cmvn.json").exists()
    assert load_tokenizer(tmp_path).content() == load_tokenizer(folder).content()
    assert [text(one) for one in load_manifest(made["train"])] == list(lines)
