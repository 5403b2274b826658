"""`keyframe evaluate --compare`: which files it reads, what it compares, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from fixtures.command_line import keyframe
from fixtures.errors import refused
from keyframe_asr.config.text_form import TEXT_FORMS
from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.comparison import compare_errors
from keyframe_asr.evaluation.report import Decoded, Evaluated, build_report, save_report
from keyframe_asr.evaluation.stored_results import compare_results, read_result

IDS = [f"[ {place} ]" for place in range(40)]
REFERENCES = ["ONE TWO THREE FOUR"] * 40
GOOD = ["ONE TWO THREE FOUR"] * 38 + ["ONE TWO"] * 2
BAD = ["ONE TWO THREE"] * 30 + ["ONE TWO THREE FOUR"] * 10


def stored(
    path: Path,
    texts: Mapping[str, Sequence[str]],
    ids: Sequence[str] = IDS,
    references: Sequence[str] = REFERENCES,
    form: Any = "english",
) -> str:
    """Write the report of outputs by mode; returns its path."""
    evaluated = Evaluated(
        "model", "test.tsv", TEXT_FORMS[form], ids, references, 80.0, 0.8, 1.0, "cpu", 1
    )
    decoded = {mode: Decoded(found, 1.0) for mode, found in texts.items()}
    save_report(build_report(evaluated, decoded), path)
    return str(path)


@pytest.fixture
def good(tmp_path: Path) -> str:
    return stored(tmp_path / "good.json", {"axe": GOOD, "ctc": BAD})


@pytest.fixture
def bad(tmp_path: Path) -> str:
    return stored(tmp_path / "bad.json", {"axe": BAD})


def test_a_report_is_the_same_after_reading(good: str) -> None:
    """Lists stand on one line each, and names with brackets and spaces are kept."""
    text = Path(good).read_text()
    assert json.loads(text)["per_utterance"]["ids"] == IDS
    assert len(text.splitlines()) < 60
    assert read_result(good).lengths == dict.fromkeys(IDS, 4)


def test_modes_of_both_are_compared(good: str, bad: str) -> None:
    (found,) = compare_results(read_result(bad), read_result(good))
    errors = [1] * 30 + [0] * 10, [0] * 38 + [2] * 2
    assert found.comparison == compare_errors(*errors, [4] * 40)
    assert (found.modes, found.comparison.better, found.utterances) == (("axe", "axe"), "b", 40)
    assert found.rates == pytest.approx((30 / 160, 4 / 160))


def test_two_modes_of_one_file_are_compared(good: str) -> None:
    (found,) = compare_results(read_result(f"{good}:axe"), read_result(f"{good}:ctc"))
    assert (found.modes, found.comparison.better) == (("axe", "ctc"), "a")


def test_details_are_read_as_well(good: str, tmp_path: Path) -> None:
    lines = [
        {"id": name, "unit": "words", "length": 4, "decode": {"axe": {"errors": 0}}} for name in IDS
    ]
    lines.append({"id": "lost", "error": "lost.wav"})
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (found,) = compare_results(read_result(good), read_result(str(tmp_path / "a.jsonl")))
    assert (found.utterances, found.rates) == (40, (4 / 160, 0.0))
    assert found.comparison.better is None


def test_only_shared_utterances_count(bad: str, tmp_path: Path) -> None:
    fewer = stored(tmp_path / "fewer.json", {"axe": GOOD[:30]}, IDS[:30], REFERENCES[:30])
    (found,) = compare_results(read_result(bad), read_result(fewer))
    assert (found.utterances, found.rates) == (30, (30 / 120, 0.0))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"ids": ["x", "y"], "references": ["A"] * 2, "texts": {"axe": ["A"] * 2}}, ()),
        ({"references": ["ONE TWO"] * 40, "texts": {"axe": GOOD}}, (4, 2, IDS[0])),
        ({"form": "mandarin", "texts": {"axe": GOOD}}, ("characters", "words")),
        ({"texts": {"ctc": GOOD, "joint": GOOD}}, ("axe", "joint")),
    ],
    ids=["ids", "references", "units", "modes"],
)
def test_what_cannot_be_compared_is_refused(
    bad: str, tmp_path: Path, other: dict[str, Any], named: tuple[object, ...]
) -> None:
    result = read_result(stored(tmp_path / "other.json", **other))
    with refused(KeyframeError, "other.json", "bad.json", *named):
        compare_results(read_result(bad), result)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"unit": "words", "per_utterance": {"ids": ["a"], "lengths": []}}', "\udcff"],
    ids=["empty", "list", "report", "short", "binary"],
)
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_other_files_are_refused(tmp_path: Path, content: str, name: str) -> None:
    (tmp_path / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with refused(KeyframeError, tmp_path / name):
        read_result(str(tmp_path / name))


def test_a_mode_that_is_not_stored_is_refused(good: str) -> None:
    with refused(KeyframeError, good, "joint", "axe", "ctc"):
        read_result(f"{good}:joint")


def test_the_command_says_which_is_better(good: str, bad: str, tmp_path: Path) -> None:
    ran = keyframe("evaluate", "--compare", bad, good, "--json", tmp_path / "found.json")
    assert (ran.exit_code, ran.stderr) == (0, "")
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["a"], found["b"]) == (bad, good)
    (row,) = found["compared"]
    assert (row["better"], row["utterances"], row["unit"]) == ("b", 40, "WER")
    assert row["difference"] == pytest.approx(-26 / 160)
    low, high = (-100 * end for end in row["ci95"])
    assert f"16.2 points ({high:.1f}-{low:.1f})" in ran.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["model"],
        ["--compare", "a.json"],
        ["model", "test.tsv", "--compare", "a.json", "b.json"],
        ["--compare", "a.json", "b.json", "--page", "a.html"],
        ["--compare", "a.json", "b.json", "--beam", "4"],
    ],
    ids=["nothing", "model", "one", "model-too", "page-too", "search-too"],
)
def test_wrong_usage(arguments: list[str]) -> None:
    assert keyframe("evaluate", *arguments).usage_error
