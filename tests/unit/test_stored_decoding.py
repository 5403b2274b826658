"""What is not given is decoded as the model stores it, in every command and in Python."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import soundfile

import keyframe_asr
from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, random_model, save_random_model
from keyframe_asr.config.decoding import DecodingConfig, SearchConfig
from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.errors import ModelError, OptionError, RecipeError
from keyframe_asr.inference.options import DECODE_MODES, RecognitionOptions
from keyframe_asr.inference.search import Search, default_mode, greedy_mode, search_of
from keyframe_asr.io.model_folder import load_model_folder, save_model_config

LANGUAGE_MODEL = "lm.arpa"
STORED = DecodingConfig(
    mode="joint",
    greedy="ctc",
    searches={
        "joint": SearchConfig(
            beam=7,
            language_model=True,
            language_model_weight=2.0,
            token_bonus=1.5,
            ctc_weight=0.2,
        ),
        "ctc": SearchConfig(beam=12, language_model=True, language_model_weight=4.0),
        "rescore": SearchConfig(beam=5, decoder_weight=0.9),
        "axe": SearchConfig(beam=4, token_bonus=1.0),
    },
    language_model=LANGUAGE_MODEL,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model with a stored decoding, the same without one, recordings and language models."""
    folder = tmp_path_factory.mktemp("stored")
    texts = {"first": "a bad cab\nbad bed\nfade a bed\n", "second": "cafe\ncafe cafe\nfee\n"}
    save_random_model(folder / "plain")
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        made = keyframe("language-model", folder / f"{name}.txt", "--out", folder / f"{name}.arpa",
                        "--model", folder / "plain", "--unit", "character")  # fmt: skip
        assert made.exit_code == 0
    store(save_random_model(folder / "model"), STORED)
    (folder / "first.arpa").rename(folder / "model" / LANGUAGE_MODEL)
    for name, seconds in (("one", 1.5), ("two", 0.8)):
        soundfile.write(folder / f"{name}.wav", noise(seconds), RATE, subtype="FLOAT")
    columns = "utt_id\tspeaker\tduration_s\tpath\ttext\tsplit\n"
    rows = "one\ta\t1.5\tone.wav\tA BAD CAB\ttest\ntwo\tb\t0.8\ttwo.wav\tFADE\ttest\n"
    (folder / "test.tsv").write_text(columns + rows, encoding="utf-8")
    (folder / "hot.txt").write_text("cafe\n", encoding="utf-8")
    return folder


def store(model: Path, decoding: DecodingConfig | None) -> None:
    config = load_model_folder(model).config
    save_model_config(model, config.model_copy(update={"decoding": decoding}))


def config_with(decoding: DecodingConfig | None, keyframes: bool = True) -> ModelFolderConfig:
    return random_model(keyframes).config.model_copy(update={"decoding": decoding})


def searched(folder: Path, **given: Any) -> Search:
    return search_of(
        RecognitionOptions(**given), config_with(STORED), folder / "model" / LANGUAGE_MODEL
    )


@pytest.mark.parametrize("keyframes", [True, False])
def test_without_a_stored_decoding_the_first_pass_is_greedy(keyframes: bool) -> None:
    config = config_with(None, keyframes)
    first = "axe" if keyframes else "ctc"
    assert default_mode(config) == greedy_mode(config) == first
    assert search_of(RecognitionOptions(), config, None) == Search(first, language_model_weight=0.3)


@pytest.mark.parametrize(
    ("given", "beam"),
    [
        ({}, 1),
        ({"decode": "joint"}, 10),
        ({"decode": "attention"}, 10),
        ({"nbest": 20}, 20),
        ({"nbest": 3}, 10),
        ({"token_bonus": 0.5}, 10),
        ({"hotwords": "hot.txt"}, 10),
        ({"beam": 3, "decode": "joint"}, 3),
    ],
)
def test_usual_beams(given: dict[str, Any], beam: int) -> None:
    assert search_of(RecognitionOptions(**given), config_with(None), None).beam == beam


def test_the_model_fills_in_what_is_not_given(folder: Path) -> None:
    own = folder / "model" / LANGUAGE_MODEL
    found = searched(folder)
    assert found == Search("joint", 7, 1, own, 2.0, 1.5, ctc_weight=0.2)
    assert searched(folder, ctc_weight=0.9, beam=3) == replace(found, ctc_weight=0.9, beam=3)
    assert searched(folder, token_bonus=0.0) == replace(found, token_bonus=0.0)
    other = folder / "second.arpa"
    assert searched(folder, language_model=other) == replace(found, language_model=other)
    assert searched(folder, nbest=9) == replace(found, beam=9, nbest=9)


def test_each_mode_has_its_own_search(folder: Path) -> None:
    own = folder / "model" / LANGUAGE_MODEL
    assert searched(folder, decode="ctc") == Search("ctc", 12, 1, own, 4.0)
    rescored = searched(folder, decode="rescore")
    assert (rescored.beam, rescored.decoder_weight, rescored.language_model) == (5, 0.9, None)
    head = searched(folder, decode="axe")
    assert (head.beam, head.token_bonus) == (4, 1.0)
    assert searched(folder, decode="attention").used == {"beam": 10}


def test_the_language_model_can_be_left_out(folder: Path) -> None:
    found = searched(folder, no_language_model=True)
    assert (found.mode, found.beam, found.language_model, found.token_bonus) == (
        "joint",
        7,
        None,
        0,
    )
    assert searched(folder, no_language_model=True, token_bonus=2.0).token_bonus == 2.0
    assert searched(folder, decode="ctc", no_language_model=True).beam == 1
    narrow = searched(folder, decode="ctc", beam=1)
    assert (narrow.beam, narrow.language_model) == (1, None)


def test_greedy_decoding_has_no_search(folder: Path) -> None:
    assert searched(folder, greedy=True).used == {} and searched(folder, greedy=True).mode == "ctc"
    assert searched(folder, greedy=True, decode="axe").used == {}
    assert searched(folder, greedy=True, decode="attention").used == {"beam": 1}
    config = config_with(STORED.model_copy(update={"greedy": "attention"}))
    found = search_of(RecognitionOptions(greedy=True), config, None)
    assert (found.mode, found.used) == ("attention", {"beam": 1})


def test_a_default_mode_must_support_what_is_given(folder: Path) -> None:
    config = config_with(STORED.model_copy(update={"mode": "attention"}))
    with pytest.raises(OptionError) as caught:
        search_of(RecognitionOptions(hotwords=folder / "hot.txt"), config, None)
    assert caught.value.option == "hotwords"
    assert search_of(RecognitionOptions(greedy=True), config, None).mode == "ctc"


@pytest.mark.parametrize(
    "given",
    [
        {"mode": "axe"},
        {"mode": "beam", "greedy": "axe"},
        {"mode": "axe", "greedy": "joint"},
        {"mode": "axe", "greedy": "axe", "searches": {"axe": {"beam": 0}}},
        {"mode": "axe", "greedy": "axe", "searches": {"axe": {"language_model": True}}},
        {"mode": "axe", "greedy": "axe", "searches": {"axe": {"beam": 1, "token_bonus": 1.0}}},
        {"mode": "axe", "greedy": "axe", "searches": {"attention": {"token_bonus": 1.0}}},
    ],
)
def test_decodings_that_cannot_be(given: dict[str, Any]) -> None:
    with refused(RecipeError, "config.yaml"):
        parse_config(DecodingConfig, given, "config.yaml")


def test_every_way_decodes_as_stored(folder: Path, tmp_path: Path) -> None:
    explicit = RecognitionOptions(
        "joint",
        beam=7,
        language_model=folder / "model" / LANGUAGE_MODEL,
        language_model_weight=2.0,
        token_bonus=1.5,
        ctc_weight=0.2,
    )
    files = [folder / "one.wav", folder / "two.wav"]
    plain = keyframe_asr.load(folder / "plain", "cpu")
    expected = [one.text for one in plain.transcribe_batch(files, explicit)]
    assert expected != [one.text for one in plain.transcribe_batch(files)]
    recognizer = keyframe_asr.load(folder / "model", "cpu")
    assert recognizer.default_mode == "joint"
    assert [one.text for one in recognizer.transcribe_batch(files)] == expected
    assert [recognizer.transcribe(file).text for file in files] == expected
    for options in ((), ("--workers", 2)):
        out = tmp_path / str(len(options))
        done = keyframe("transcribe", folder / "model", *files, "--out", out, *options)
        assert done.exit_code == 0, done
        assert [(out / f"{file.stem}.txt").read_text().strip() for file in files] == expected
    report = tmp_path / "report.json"
    done = keyframe("evaluate", folder / "model", folder / "test.tsv", "--json", report)
    assert done.exit_code == 0
    assert list(json.loads(report.read_text())["decode"]) == ["joint"]


def test_greedy_and_other_modes_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = ("evaluate", folder / "model", folder / "test.tsv", "--json", report)
    assert keyframe(*words, "--greedy").exit_code == 0
    assert list(json.loads(report.read_text())["decode"]) == ["ctc"]
    assert keyframe(*words, "--greedy", "--decode", "axe", "--decode", "ctc").exit_code == 0
    assert list(json.loads(report.read_text())["decode"]) == ["axe", "ctc"]
    plain = keyframe_asr.load(folder / "plain", "cpu")
    found = keyframe("transcribe", folder / "model", folder / "one.wav", "--greedy")
    assert found.stdout.strip() == plain.transcribe(folder / "one.wav", "ctc").text


def test_json_says_how_it_was_decoded(folder: Path) -> None:
    def told(*options: object) -> dict[str, Any]:
        words = ("transcribe", folder / "model", folder / "one.wav", "--format", "json")
        found: dict[str, Any] = json.loads(keyframe(*words, *options).stdout)
        return {"decode": found["decode"]} | found["options"]

    whole, own = told(), folder / "model" / LANGUAGE_MODEL
    digest = hashlib.sha256(own.read_bytes()).hexdigest()
    assert whole.pop("language_model") == {"file": str(own), "sha256": digest}
    assert whole == {
        "decode": "joint",
        "beam": 7,
        "language_model_weight": 2.0,
        "token_bonus": 1.5,
        "ctc_weight": 0.2,
    }
    other = told("--language-model", folder / "second.arpa")
    assert other["language_model"]["sha256"] != told()["language_model"]["sha256"]
    assert told("--no-language-model") == {"decode": "joint", "beam": 7, "ctc_weight": 0.2}
    assert told("--greedy") == {"decode": "ctc"}


def test_hot_words_and_alternatives_go_with_the_own_language_model(folder: Path) -> None:
    recognizer = keyframe_asr.load(folder / "model", "cpu")
    sound = noise(1.5)
    plain = recognizer.transcribe(sound)
    hot = RecognitionOptions(hotwords=folder / "hot.txt", hotword_weight=20)
    assert "CAFE" in recognizer.transcribe(sound, hot).text and "CAFE" not in plain.text
    several = recognizer.transcribe(sound, RecognitionOptions(nbest=3))
    assert several.text == plain.text and len(several.alternatives) == 3


def test_outputs_of_another_stored_decoding_are_refused(folder: Path, tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    words = ("transcribe", model, folder / "one.wav", "--out", tmp_path / "out")
    assert keyframe(*words).exit_code == 0
    store(model, DecodingConfig(mode="ctc", greedy="ctc"))
    assert "one.txt" in keyframe(*words).error
    assert keyframe(*words, "--overwrite").exit_code == 0


def test_a_language_model_that_is_missing(tmp_path: Path, folder: Path) -> None:
    model = save_random_model(tmp_path / "model")
    store(model, STORED)
    with refused(ModelError, f"{model}: ", LANGUAGE_MODEL):
        keyframe_asr.load(model, "cpu")
    assert LANGUAGE_MODEL in keyframe("transcribe", model, folder / "one.wav").error


@pytest.mark.parametrize("mode", DECODE_MODES)
def test_a_batch_gives_the_texts_of_its_recordings(folder: Path, mode: str) -> None:
    recognizer = keyframe_asr.load(folder / "model", "cpu")
    sounds = [noise(seconds, seed) for seed, seconds in enumerate((0.7, 1.5, 1.1))]
    options = RecognitionOptions(mode)  # type: ignore[arg-type]
    together = [one.text for one in recognizer.recognise(sounds, options)]
    assert together == [recognizer.recognise([sound], options)[0].text for sound in sounds]
