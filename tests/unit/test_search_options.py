"""Beams, n-best, language models and hot words from the command line, on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner

from fixtures.random_model import RATE, noise, random_model, save_random_model
from keyframe_asr.cli.main import app
from keyframe_asr.decoding.beam import BeamConfig
from keyframe_asr.errors import KeyframeError, ModelError
from keyframe_asr.inference.modes import DecodeOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.scorer_files import FusionFiles, load_fusion, read_hotwords


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return Recognizer(random_model(), "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model, a recording, a language model and hot words."""
    folder = tmp_path_factory.mktemp("search")
    save_random_model(folder / "model")
    soundfile.write(folder / "one.wav", noise(1.5), RATE, subtype="FLOAT")
    (folder / "text.txt").write_text("a bad cab\nbad bed\nfade a bed\n", encoding="utf-8")
    (folder / "hot.txt").write_text("# names\nfade\t4\n\ncab\n", encoding="utf-8")
    made = call("language-model", folder / "text.txt", "--out", folder / "lm.arpa", "--model",
                folder / "model", "--unit", "character")  # fmt: skip
    assert made.exit_code == 0 and "3 sentences" in made.stdout
    return folder


def call(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def transcribe(folder: Path, *words: object) -> dict:
    found = call("transcribe", folder / "model", folder / "one.wav", "--format", "json", *words)
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


@pytest.mark.parametrize("mode", ["axe", "ctc", "attention", "rescore", "joint"])
def test_alternatives_are_different_and_sorted(recognizer, mode) -> None:
    options = DecodeOptions(BeamConfig(6), nbest=4)
    found = recognizer.transcribe(noise(1.5), mode, options)
    texts = [one.text for one in found.alternatives]
    scores = [one.score for one in found.alternatives]
    assert texts[0] == found.text != ""
    assert 2 <= len(texts) == len(set(texts)) <= 4
    assert scores == sorted(scores, reverse=True)
    assert recognizer.transcribe(noise(1.5), mode).alternatives == []
    silent = recognizer.transcribe(0 * noise(1.5), mode, options)
    assert [one.text for one in silent.alternatives] == [silent.text] == [""]


def test_without_options_the_greedy_modes_stay_greedy(recognizer) -> None:
    assert DecodeOptions().search_width == 1
    assert DecodeOptions(nbest=2).search_width == 10
    assert DecodeOptions(first_pass_beam=3).search_width == 3


def test_options_reach_the_search(folder: Path) -> None:
    plain = transcribe(folder)
    assert plain["alternatives"] == []
    several = transcribe(folder, "--nbest", 3)
    assert len(several["alternatives"]) == 3
    heavy = ("--hotword-weight", 9)
    hot = transcribe(folder, "--hotwords", folder / "hot.txt", "--decode", "ctc", *heavy)
    assert "CAB" in hot["text"] and "CAB" not in plain["text"]
    model = ("--language-model", folder / "lm.arpa", "--language-model-weight", 5)
    assert transcribe(folder, *model)["text"] != plain["text"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--nbest", "4", "--beam", "2"], "--beam 4"),
        (["--hotwords", "hot.txt", "--beam", "1"], "--beam 2"),
        (["--hotwords", "hot.txt", "--decode", "attention"], "use joint"),
        (["--language-model", "lm.arpa", "--decode", "attention"], "use joint"),
    ],
)
def test_contradictions_are_wrong_usage(words, problem, folder: Path) -> None:
    given = [folder / word if "." in word else word for word in words]
    found = call("transcribe", folder / "model", folder / "one.wav", *given)
    assert found.exit_code == 2
    assert problem in " ".join(found.output.split())


def test_a_token_model_needs_its_recogniser(folder: Path) -> None:
    found = call("language-model", folder / "text.txt", "--out", folder / "x", "--unit", "token")
    assert found.exit_code == 2 and "--model" in found.output


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("bad\nzoo", r":2: 'zoo' can never be recognised.*'ZOO'"),
        ("fade\theavy", r":1: 'heavy' is no weight"),
        ("fade\t-1", "above 0"),
        ("fade\tnan", "above 0"),
        ("# nothing", "holds no words"),
    ],
)
def test_hot_words_that_cannot_be_are_named(recognizer, tmp_path, line, problem) -> None:
    path = tmp_path / "hot.txt"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(KeyframeError, match=problem) as caught:
        read_hotwords(path, recognizer, 1.0)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(recognizer, tmp_path: Path) -> None:
    with pytest.raises(KeyframeError, match=r"no\.txt: cannot be read"):
        load_fusion(recognizer, FusionFiles(hotwords=tmp_path / "no.txt"))
    with pytest.raises(ModelError, match=r"no\.arpa: cannot be read"):
        load_fusion(recognizer, FusionFiles(language_model=tmp_path / "no.arpa"))


def test_fusion_of_the_decoder_is_refused(recognizer) -> None:
    fusion = load_fusion(recognizer, FusionFiles(token_bonus=1.0))
    with pytest.raises(ModelError, match="'attention' takes no"):
        recognizer.transcribe(noise(0.5), "attention", DecodeOptions(fusion=fusion))


@pytest.mark.parametrize("mode", ["axe", "ctc"])
def test_fusion_with_nothing_to_choose_from_is_refused(recognizer, mode) -> None:
    """A beam of 1 would lose it without a word."""
    fusion = load_fusion(recognizer, FusionFiles(token_bonus=1.0))
    narrow = DecodeOptions(first_pass_beam=1, fusion=fusion)
    with pytest.raises(ModelError, match="widen first_pass_beam"):
        recognizer.transcribe(noise(0.5), mode, narrow)
    assert recognizer.transcribe(noise(0.5), mode, DecodeOptions(fusion=fusion)).text
