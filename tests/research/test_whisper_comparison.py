"""The comparison with whisper: fair forms, errors and intervals, texts that are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from kaldialign import edit_distance

from fixtures.random_model import random_model, save_random_model
from fixtures.random_pretrained import random_pretrained
from fixtures.tone_corpus import write_corpus
from keyframe_asr import RecognitionOptions
from research.benchmarks.whisper import compare
from research.benchmarks.whisper.normal_forms import (
    english_units,
    fewest_errors,
    spelled_readings,
    spelled_units,
    words_written,
)
from research.benchmarks.whisper.recognise_with_keyframes import DecoderCounts
from research.benchmarks.whisper.recordings import (
    Recording,
    RecordingSet,
    read_sets,
    spread,
    spread_by_speaker,
)
from research.benchmarks.whisper.scoring import Scores, score
from research.benchmarks.whisper.speed import measure_speed
from research.benchmarks.whisper.stored_texts import StoredTexts
from research.benchmarks.whisper.systems import (
    System,
    languages_of,
    own_system,
    recognise,
)


@pytest.mark.parametrize("text", ["THREE FIVE ONE", "3 5 1", "351", "three fifty-one"])
def test_digits_are_words_of_their_own(text: str) -> None:
    assert english_units(text) == ["3", "5", "1"]


def test_leading_zeros_stay() -> None:
    assert english_units("0351") == english_units("ZERO THREE FIVE ONE") == list("0351")


@pytest.mark.parametrize(
    ("reference", "written"),
    [
        ("C A T", ["CAT", "C-A-T.", "Cat.", "c a t", "See a tea"]),
        ("C O R N", ["C-O-R-N", "Corn", "C 0 R N"]),
        ("U W", ["you double you", "UW", "U double-u"]),
        ("THREE THREE ONE OH ONE EIGHT EIGHT", ["331-0188", "33101 88", "3 3 1 o 1 8 8"]),
        ("O O SEVEN", ["007", "0 0 7", "oh oh seven"]),
        ("JUNE EIGHTEENTH NINETEEN SIXTY EIGHT", ["June 18th, 1968.", "June 18, 1968"]),
        ("ENTER EIGHT NINETY SEVEN", ["Enter 897.", "enter 8 97"]),
        ("RUBOUT E Y FOUR", ["Rub out EY4.", "rubout e y for"]),
        ("TWELVE TWENTY NINE", ["12-29", "1229", "twelve 29"]),
        ("C Q Q F SEVEN", ["CQQF7", "C-Q-Q-F-7"]),
    ],
)
def test_spelled_words_and_numbers_have_one_form(reference: str, written: list[str]) -> None:
    expected = spelled_units(reference)
    assert {one: fewest_errors(expected, spelled_readings(one)) for one in written} == (
        dict.fromkeys(written, 0)
    )


@pytest.mark.parametrize(
    ("reference", "written", "errors"),
    [
        ("ENTER FIVE", "Center five", 1),  # one word, not six letters
        ("ENTER C Q", "Center CQ", 1),
        ("C A T", "bat", 1),
        ("SIX SIX", "6", 1),
        ("GO", "", 1),
        ("ONE EIGHT", "The weather is fine, 18", 4),
        ("FIFTY", "15", 2),
    ],
)
def test_other_texts_are_errors(reference: str, written: str, errors: int) -> None:
    assert fewest_errors(spelled_units(reference), spelled_readings(written)) == errors


TOKENS = st.lists(st.sampled_from("ABC"), max_size=6)


@given(TOKENS, TOKENS, TOKENS)
def test_fewest_errors_is_the_edit_distance(
    reference: list[str], first: list[str], second: list[str]
) -> None:
    def distance(*words: list[str]) -> int:
        return int(edit_distance(reference, [unit for word in words for unit in word])["total"])

    assert fewest_errors(reference, [[one] for one in first]) == distance(first)
    both = fewest_errors(reference, [[first, second], [second]])
    assert both == min(distance(first, second), distance(second, second))


def test_words_of_any_script_are_counted() -> None:
    assert words_written(" You, 你好 2!") == 4
    assert words_written(" ... ") == 0


def recordings(count: int, speakers: int, language: str = "en") -> tuple[Recording, ...]:
    return tuple(
        Recording(f"r{n}", f"s{n % speakers}", f"/{n}.wav", language, "GO", 2.0)
        for n in range(count)
    )


def test_samples_are_spread() -> None:
    many = recordings(100, 4)
    assert [one.id for one in spread(many, 4)] == ["r0", "r25", "r50", "r75"]
    assert spread(many[:3], 9) == list(many[:3])
    chosen = spread_by_speaker(many, 2)
    assert sorted(one.speaker for one in chosen) == ["s0", "s0", "s1", "s1", "s2", "s2", "s3", "s3"]


def test_noise_has_silence_and_no_text(tmp_path: Path, noise_folder: Path) -> None:
    (found,) = read_sets(["noise"], noise_folder, tmp_path)
    silence = [one for one in found.recordings if one.speaker == "silence"]
    assert [one.seconds for one in silence] == [1, 5, 20]
    assert len(found.recordings) == 4 and not any(one.text for one in found.recordings)


@pytest.fixture
def noise_folder(tmp_path: Path) -> Path:
    """A folder of corpora with one sound of noise."""
    path = tmp_path / "data" / "noise" / "rain" / "one.ogg"
    path.parent.mkdir(parents=True)
    soundfile.write(path, np.zeros(8000), 16000)
    return tmp_path / "data"


def test_differences_are_of_the_same_recordings() -> None:
    """A system with one error less in most recordings is better, whatever the recordings are."""
    errors = {"peer": [3, 0, 9, 5] * 10, "ours": [2, 0, 8, 4] * 10, "same": [2, 0, 8, 4] * 10}
    scores = Scores((10,) * 40, tuple(f"s{n % 20}" for n in range(40)), errors)
    found = scores.described(["peer"])
    assert found["peer"]["error"] == pytest.approx(17 / 40)
    assert "minus" not in found["peer"]
    minus = found["ours"]["minus"]["peer"]
    assert minus["difference"] == pytest.approx(-3 / 40)
    assert minus["low"] <= -3 / 40 <= minus["high"] < 0 and minus["better"] == "b"
    low, high = minus["ci95_over_speakers"]
    assert low <= -3 / 40 <= high < 0
    assert (minus["speakers_with_fewer_errors"], minus["speakers_with_more_errors"]) == (15, 0)
    assert list(found["same"]["minus"]) == ["peer", "ours"]
    assert found["same"]["minus"]["ours"]["better"] is None
    low, high = found["ours"]["ci95"]
    assert low < found["ours"]["error"] < high
    assert found["ours"]["speakers"]["s1"] == 0.0


def test_sets_are_scored_in_their_form() -> None:
    found = score(
        RecordingSet("an4", "AN4", "spelled", recordings(2, 2)), {"a": ["Go!", "goo"]}, ""
    )
    assert (found.lengths, found.errors) == ((1, 1), {"a": [0, 1]})
    noise = RecordingSet("noise", "Noise", "none", recordings(2, 2))
    assert score(noise, {"a": ["", "Thank you"]}, "").described([]) == {
        "a": {"texts": 1, "words": 2, "errors": [0, 2]}
    }


WRITES = """
import json, sys
listed, threads = sys.argv[1], sys.argv[-1]
with open({log!r}, "a") as log:
    for line in open(listed):
        name = json.loads(line)["id"]
        if name == "r2" and {fails}:
            sys.exit(3)
        log.write(name + " ")
        row = {{"id": name, "text": "go", "seconds": 0.5, "steps": 3, "vectors": 8}}
        print(json.dumps(row), flush=True)
print(json.dumps({{"peak_megabytes": 5.0}}))
"""


def writer(tmp_path: Path, fails: bool = False, language: str | None = None) -> System:
    """A system that writes the same for every recording, and a log of them."""
    code = WRITES.format(log=str(tmp_path / "log"), fails=fails)
    languages = None if language is None else (language,)
    return System("writer", (sys.executable, "-c", code, "LIST"), {"whisper": 1}, languages)


def test_texts_are_written_once(tmp_path: Path) -> None:
    group = RecordingSet("an4", "AN4", "spelled", recordings(5, 2))
    stored = StoredTexts(tmp_path / "texts.json")
    with pytest.raises(subprocess.CalledProcessError):
        compare.write_texts(writer(tmp_path, fails=True), [group], stored)
    again = StoredTexts(tmp_path / "texts.json")  # what there was is in the file
    compare.write_texts(writer(tmp_path), [group], again)
    compare.write_texts(writer(tmp_path), [group], again)
    assert (tmp_path / "log").read_text().split() == ["r0", "r1", "r2", "r3", "r4"]
    assert again.missing({"whisper": 1}, ["r4", "r5"]) == ["r5"]
    assert again.missing({"whisper": 2}, ["r4"]) == ["r4"]
    row = again.rows({"whisper": 1})["r3"]
    assert row == {"text": "go", "seconds": 0.5, "steps": 3, "vectors": 8}
    found = compare.scored(group, [writer(tmp_path)], again, "")["systems"]["writer"]
    assert found["error"] == 0.0
    assert (found["vectors_per_second"], found["steps_per_second"]) == (4.0, 1.5)


def test_systems_hear_their_languages(tmp_path: Path) -> None:
    system = writer(tmp_path, language="zh")
    assert [system.recognises(recordings(1, 1, one)[0]) for one in ("zh", "en")] == [True, False]


def test_regions_are_no_languages() -> None:
    config = random_model().config
    told = {"zh+en": ("zh", "en"), "zh-CN": ("zh",), "en": ("en",)}
    for tag, expected in told.items():
        assert languages_of(config.model_copy(update={"language": tag})) == expected


def test_speed_is_of_medians_of_turns(tmp_path: Path) -> None:
    group = RecordingSet("english", "English", "english", recordings(6, 2))
    turns = list(measure_speed([writer(tmp_path)], [group], 2, 3, recognise))
    assert [one["repeats"] for one in turns] == [1, 2, 3]
    assert turns[-1]["systems"] == {
        "writer": {
            "peak_megabytes": 5.0,
            "real_time_factor": {"english": 0.25},
            "range": {"english": [0.25, 0.25]},
        }
    }
    assert (tmp_path / "log").read_text().split() == ["r0", "r3"] * 3


def test_what_a_decoder_does_is_counted() -> None:
    recognizer = random_pretrained()
    counts = DecoderCounts(recognizer.network)
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype("f4")
    text = recognizer.transcribe(sound, RecognitionOptions(decode="attention", beam=1)).text
    assert counts.steps > len(text.split())
    assert 0 < counts.vectors == recognizer.encode([sound]).keyframes[0]
    counts.reset()
    recognizer.transcribe(sound, "ctc")
    assert (counts.steps, counts.vectors) == (0, 0)


def test_one_command_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_random_model(tmp_path / "model")
    write_corpus(tmp_path / "data" / "an4", {"test": ["AB", "C", "BD"]}, "manifest.tsv")
    command = ["--json", str(tmp_path / "a.json"), "--texts", str(tmp_path / "kept" / "t.json")]
    command += ["--ours", "greedy", str(model), "decode=axe", "--data", str(tmp_path / "data")]
    command += ["--sets", "an4", "--repeats", "0"]
    compare.main(command)
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert report["sets"]["an4"]["recordings"] == 3
    assert list(report["sets"]["an4"]["systems"]) == ["greedy"]
    assert "| greedy | " in capsys.readouterr().out
    other, same = (own_system("x", str(model), one) for one in ([], ["decode=axe"]))
    kept = StoredTexts(tmp_path / "kept" / "t.json")
    assert len(kept.missing(same.setting, report["sets"]["an4"]["ids"])) == 0
    assert len(kept.missing(other.setting, report["sets"]["an4"]["ids"])) == 3
