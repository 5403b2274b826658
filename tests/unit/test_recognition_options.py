"""Beams, n-best, language models and hot words, from Python and the command line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, random_model, save_random_model
from keyframe_asr.errors import KeyframeError, ModelError, OptionError
from keyframe_asr.inference import scorer_files
from keyframe_asr.inference.options import (
    DECODE_MODES,
    ComputeOptions,
    RecognitionOptions,
    Segmentation,
)
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.scorer_files import read_hotwords, usable_hotwords


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
    assert made.exit_code == 0
    return folder


def transcribe(folder: Path, *words: object) -> dict:
    found = keyframe("transcribe", folder / "model", folder / "one.wav", "--format", "json", *words)
    assert found.exit_code == 0, found
    return json.loads(found.stdout)


@pytest.mark.parametrize("mode", DECODE_MODES)
def test_alternatives_are_different_and_sorted(recognizer, mode) -> None:
    options = RecognitionOptions(mode, beam=6, nbest=4)
    found = recognizer.transcribe(noise(1.5), options)
    texts = [one.text for one in found.alternatives]
    scores = [one.score for one in found.alternatives]
    assert texts[0] == found.text != ""
    assert 2 <= len(texts) == len(set(texts)) <= 4
    assert scores == sorted(scores, reverse=True)
    assert recognizer.transcribe(noise(1.5), mode).alternatives == []
    silent = recognizer.transcribe(0 * noise(1.5), options)
    assert [one.text for one in silent.alternatives] == [silent.text] == [""]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"decode": "beam"}, "decode"),
        ({"beam": 0}, "beam"),
        ({"beam": 2.5}, "beam"),
        ({"nbest": None}, "nbest"),
        ({"nbest": 4, "beam": 2}, "nbest"),
        ({"language_model_weight": -0.1}, "language_model_weight"),
        ({"token_bonus": float("nan")}, "token_bonus"),
        ({"ctc_weight": 1.5}, "ctc_weight"),
        ({"decoder_weight": "0.5"}, "decoder_weight"),
        ({"length_normalised": "no"}, "length_normalised"),
        ({"voice_activity": "ears"}, "voice_activity"),
        ({"batch_seconds": 0.5}, "batch_seconds"),
        ({"hotwords": 3}, "hotwords"),
        ({"hotwords": "hot.txt", "beam": 1}, "hotwords"),
        ({"hotwords": "hot.txt", "decode": "attention"}, "hotwords"),
        ({"language_model": "lm.arpa", "decode": "attention"}, "language_model"),
        ({"token_bonus": 1.0, "decode": "attention"}, "token_bonus"),
        ({"segmentation": 20.0}, "segmentation"),
        ({"chunk": 0.3}, "chunk"),
        ({"look_ahead": 0.3}, "look_ahead"),
        ({"simulate_streaming": True, "chunk": 0.0}, "chunk"),
        ({"simulate_streaming": True, "decode": "joint"}, "simulate_streaming"),
        ({"simulate_streaming": True, "nbest": 2}, "simulate_streaming"),
        ({"greedy": "yes"}, "greedy"),
        ({"greedy": True, "decode": "joint"}, "greedy"),
        ({"greedy": True, "beam": 5}, "greedy"),
        ({"greedy": True, "nbest": 2}, "greedy"),
        ({"greedy": True, "hotwords": "hot.txt"}, "greedy"),
        ({"no_language_model": True, "language_model": "lm.arpa"}, "no_language_model"),
    ],
)
def test_bad_options_are_named(given: dict, field: str) -> None:
    with pytest.raises(OptionError) as caught:
        RecognitionOptions(**given)
    assert caught.value.option == field
    assert str(caught.value) == f"{field}: {caught.value.reason}" and caught.value.reason
    assert "\n" not in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args


@pytest.mark.parametrize("longest", [-1, 0.0, float("nan"), float("inf")])
def test_segments_have_some_length(longest: float) -> None:
    with pytest.raises(OptionError) as caught:
        Segmentation(longest=longest)
    assert caught.value.option == "segmentation.longest"


def test_a_mode_stands_for_options(recognizer) -> None:
    assert RecognitionOptions.of("ctc") == RecognitionOptions(decode="ctc")
    assert recognizer.prepare().decode == "axe"
    sound = noise(1.0)
    expected = recognizer.transcribe(sound, RecognitionOptions(decode="ctc"))
    assert recognizer.transcribe(sound, "ctc") == expected


@pytest.mark.parametrize("field", ["workers", "threads"])
def test_nothing_cannot_compute(field: str) -> None:
    with pytest.raises(OptionError) as caught:
        ComputeOptions(**{field: 0})
    assert caught.value.option == field


def test_files_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def reading(path: Path, *others):
        read.append(path)
        return original(path, *others)

    original = read_hotwords
    monkeypatch.setattr(scorer_files, "read_hotwords", reading)
    recognizer = Recognizer(random_model(), "cpu")
    for mode in ("ctc", "axe"):
        recognizer.transcribe(noise(1.0), RecognitionOptions(mode, hotwords=folder / "hot.txt"))
    assert read == [folder / "hot.txt"]


def test_a_changed_file_is_read_again(recognizer, tmp_path: Path) -> None:
    path = tmp_path / "hot.txt"
    options = RecognitionOptions("ctc", hotwords=path, hotword_weight=9)
    path.write_text("cab\n", encoding="utf-8")
    sound = noise(1.5)
    first = recognizer.transcribe(sound, options).text
    path.write_text("fade\n", encoding="utf-8")
    second = recognizer.transcribe(sound, options).text
    assert "CAB" in first and "FADE" not in first
    assert "FADE" in second and "CAB" not in second
    path.unlink()  # not between batches
    assert recognizer.recognise([sound], options)[0].text == second
    with refused(KeyframeError, f"{path}: "):
        recognizer.transcribe(sound, options)


def test_segmentation_is_not_a_mapping_in_python() -> None:
    with pytest.raises(OptionError) as caught:
        RecognitionOptions(segmentation={"longest": 12})  # type: ignore[arg-type]
    assert caught.value.option == "segmentation"


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
    ("words", "flag"),
    [
        (["--nbest", "4", "--beam", "2"], "--nbest"),
        (["--beam", "0"], "--beam"),
        (["--workers", "0"], "--workers"),
        (["--batch-seconds", "0"], "--batch-seconds"),
        (["--vad", "ears"], "--vad"),
        (["--hotwords", "hot.txt", "--beam", "1"], "--hotwords"),
        (["--hotwords", "hot.txt", "--decode", "attention"], "--hotwords"),
        (["--language-model", "lm.arpa", "--decode", "attention"], "--language-model"),
        (["--language-model", "lm.arpa", "--no-language-model"], "--no-language-model"),
        (["--language-model", "lm.arpa", "--greedy"], "--greedy"),
    ],
)
def test_contradictions_are_wrong_usage(words, flag, folder: Path) -> None:
    given = [folder / word if "." in word else word for word in words]
    found = keyframe("transcribe", folder / "model", folder / "one.wav", *given)
    assert flag in found.usage_error


def test_every_mode_of_an_evaluation_must_agree(folder: Path) -> None:
    modes = ("--decode", "ctc", "--decode", "attention")
    found = keyframe("evaluate", "no-model", "no.tsv", *modes, "--token-bonus", 1)
    assert "--token-bonus" in found.usage_error
    found = keyframe("evaluate", "no-model", "no.tsv", "--decode", "magic")
    assert "--decode" in found.usage_error


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
        read_hotwords(path, recognizer.config, recognizer.tokenizer, 1.0)


def test_hot_words_without_a_file(recognizer, folder: Path) -> None:
    phrases = ["fade\t4", "cab"]
    options = RecognitionOptions("ctc", hotwords=phrases, hotword_weight=9)  # type: ignore[arg-type]
    assert options == RecognitionOptions("ctc", hotwords=tuple(phrases), hotword_weight=9)
    file = RecognitionOptions("ctc", hotwords=folder / "hot.txt", hotword_weight=9)
    sound = noise(1.5)
    found = recognizer.transcribe(sound, options)
    assert found == recognizer.transcribe(sound, file)
    assert "CAB" in found.text
    assert hash(options) and RecognitionOptions(hotwords=()) == RecognitionOptions()


@pytest.mark.parametrize(
    ("phrase", "named"), [("zoo", ["'zoo'", "'ZOO'"]), ("fade\theavy", ["'fade'", "'heavy'"])]
)
def test_wrong_hot_words_without_a_file_are_named(recognizer, phrase, named) -> None:
    with refused(OptionError, "hotwords: ", *named):
        recognizer.transcribe(noise(1.0), RecognitionOptions("ctc", hotwords=("cab", phrase)))


@pytest.mark.parametrize("given", [("cab", 3), ("",), ("cab",) * 1001, ("ca" * 101,)])
def test_hot_words_without_a_file_are_limited(given) -> None:
    with pytest.raises(OptionError) as caught:
        RecognitionOptions(hotwords=given)
    assert caught.value.option == "hotwords"


def test_lists_of_hot_words_are_kept_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    recognizer, built = Recognizer(random_model(), "cpu"), []

    def reading(source, *others):
        built.append(source)
        return read_hotwords(source, *others)

    monkeypatch.setattr(scorer_files, "read_hotwords", reading)
    lists = [("cab", "bad" * n) for n in range(1, scorer_files.FILES_KEPT + 2)]
    for given in [lists[0], *lists, lists[-1], lists[0]]:
        recognizer.transcribe(noise(0.5), RecognitionOptions("ctc", hotwords=given))
    assert built == [*lists, lists[0]], "the oldest was forgotten, none was built twice before"


def test_usable_hot_words(recognizer) -> None:
    given = ("cab", "zoo", "fade", " ")
    found = usable_hotwords(given, recognizer.config, recognizer.tokenizer)
    assert found == ("cab", "fade")


def test_files_that_are_not_there(recognizer, tmp_path: Path) -> None:
    missing = tmp_path / "no.txt"
    with refused(KeyframeError, f"{missing}: "):
        recognizer.transcribe_each([], RecognitionOptions(hotwords=missing))
    with refused(ModelError, f"{missing}: "):
        recognizer.transcribe_each([], RecognitionOptions(language_model=missing))
