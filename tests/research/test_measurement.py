"""What is measured once is kept; what failed, or has another setting, is measured again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fixtures.errors import refused
from keyframe_asr.errors import AudioError, KeyframeError
from research.measurement import Measurement, Record, choose, measure, plan


def measurement(name: str, value: float = 1.0, work: float = 1.0, variant: str = "") -> Measurement:
    return Measurement(name, variant or name, {"value": value}, lambda: {"found": value}, work)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kept.json"


def test_what_is_finished_is_skipped(path: Path) -> None:
    said: list[str] = []
    measure([measurement("a"), measurement("b")], Record.load(path), {}, said.append)
    assert len(said) == 2
    again = Record.load(path)
    assert again.results == {"a": {"found": 1.0}, "b": {"found": 1.0}}
    # the setting of b is another
    now = [measurement("a"), measurement("b", value=2.0), measurement("c")]
    measure(now, again, {}, said.append)
    assert [line.split(": ")[1] for line in said[2:]] == ["b", "c"]
    assert Record.load(path).results["b"] == {"found": 2.0}


def test_one_that_fails_leaves_the_others_alone(path: Path) -> None:
    def fail() -> dict[str, Any]:
        raise AudioError("gone.wav")

    record = Record.load(path)
    now = [Measurement("a", "a", {}, fail), measurement("b")]
    (error,) = measure(now, record, {}, lambda line: None)
    assert type(error) is AudioError
    assert str(error) == "a: gone.wav"
    assert list(record.results) == ["b"]


@pytest.mark.parametrize(
    ("weights", "epochs", "outdated"),
    [("12ab", 1, []), (None, 1, []), ("9", 1, ["a"]), (None, 2, ["a"])],
)
def test_weights_that_are_gone_are_those_of_then(
    weights: str | None, epochs: int, outdated: list[str], path: Path
) -> None:
    record = Record(path, {"a": {"setting": {"start": {"weights": "12ab"}, "epochs": 1}}})
    now = Measurement("a", "a", {"start": {"weights": weights}, "epochs": epochs}, dict)
    assert record.outdated([now]) == outdated


def test_two_processes_share_a_record(path: Path) -> None:
    one, other = Record.load(path), Record.load(path)
    measure([measurement("a")], one, {}, lambda line: None)
    measure([measurement("b")], other, {}, lambda line: None)
    assert list(Record.load(path).results) == list(other.results) == ["a", "b"]


def test_the_plan_says_how_long_by_what_is_known(path: Path) -> None:
    record = Record.load(path)
    both = [measurement("a", work=2.0), measurement("b", work=6.0)]
    assert [one.seconds for one in plan(both, record)] == [None, None]
    measure(both[:1], record, {}, lambda line: None)
    record.parts["a"]["seconds"] = 10.0
    planned = [(one.is_done, one.seconds) for one in plan(both, record)]
    assert planned == [(True, 10.0), (False, 30.0)]


def test_only_some_variants() -> None:
    every = [measurement("a, 1", variant="a"), measurement("a, 2", variant="a"), measurement("b")]
    assert [one.name for one in choose(every, ["a"])] == ["a, 1", "a, 2"]
    with refused(KeyframeError, "--only c", "a, b"):
        choose(every, ["c"])


def test_a_damaged_record(path: Path) -> None:
    path.write_text("{")
    with refused(KeyframeError, path):
        Record.load(path)
