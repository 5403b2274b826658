"""Beams, n-best, language models and hot words from the command line, on a tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, random_model, save_random_model
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
    made = keyframe("language-model", folder / "text.txt", "--out", folder / "lm.arpa", "--model",
                folder / "model", "--unit", "character")  # fmt: skip
    assert made.exit_code == 0 and "3 sentences" in made.stdout
    return folder


def transcribe(folder: Path, *words: object) -> dict:
    found = keyframe("transcribe", folder / "model", folder / "one.wav", "--format", "json", *words)
    assert found.exit_code == 0, found
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
        (["--hotwords", "hot.txt", "--decode", "attention"], "joint"),
        (["--language-model", "lm.arpa", "--decode", "attention"], "joint"),
    ],
)
def test_contradictions_are_wrong_usage(words, problem, folder: Path) -> None:
    given = [folder / word if "." in word else word for word in words]
    found = keyframe("transcribe", folder / "model", folder / "one.wav", *given)
    assert problem in found.usage_error


def test_a_token_model_needs_its_recogniser(folder: Path) -> None:
    words = ("language-model", folder / "text.txt", "--out", folder / "x", "--unit", "token")
    assert "--model" in keyframe(*words).usage_error


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("bad\nzoo", ["hot.txt:2: ", "'zoo'", "'ZOO'"]),
        ("fade\theavy", ["hot.txt:1: ", "'heavy'"]),
        ("fade\t-1", ["hot.txt:1: ", "-1"]),
        ("fade\tnan", ["hot.txt:1: ", "nan"]),
        ("# nothing", ["hot.txt: "]),
    ],
)
def test_hot_words_that_cannot_be_are_named(recognizer, tmp_path, line, named) -> None:
    path = tmp_path / "hot.txt"
    path.write_text(line, encoding="utf-8")
    with refused(KeyframeError, *named):
        read_hotwords(path, recognizer, 1.0)


def test_files_that_are_not_there(recognizer, tmp_path: Path) -> None:
    with refused(KeyframeError, f"{tmp_path / 'no.txt'}: "):
        load_fusion(recognizer, FusionFiles(hotwords=tmp_path / "no.txt"))
    with refused(ModelError, f"{tmp_path / 'no.arpa'}: "):
        load_fusion(recognizer, FusionFiles(language_model=tmp_path / "no.arpa"))


def test_fusion_of_the_decoder_is_refused(recognizer) -> None:
    fusion = load_fusion(recognizer, FusionFiles(token_bonus=1.0))
    with refused(ModelError, "'attention'"):
        recognizer.transcribe(noise(0.5), "attention", DecodeOptions(fusion=fusion))


@pytest.mark.parametrize("mode", ["axe", "ctc"])
def test_fusion_with_nothing_to_choose_from_is_refused(recognizer, mode) -> None:
    """A beam of 1 would lose it without a word."""
    fusion = load_fusion(recognizer, FusionFiles(token_bonus=1.0))
    narrow = DecodeOptions(first_pass_beam=1, fusion=fusion)
    with refused(ModelError, "first_pass_beam"):
        recognizer.transcribe(noise(0.5), mode, narrow)
    assert recognizer.transcribe(noise(0.5), mode, DecodeOptions(fusion=fusion)).text
