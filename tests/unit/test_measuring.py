"""How the command line runs a measurement: progress, failures, table and report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from keyframe_asr.cli.measuring import (
    SECONDS_BETWEEN_LINES,
    Progress,
    measure,
    progress_lines,
    progress_shown,
)
from keyframe_asr.errors import AudioError, KeyframeError


class Listening:
    """A measurement of three recordings, some of which cannot be read."""

    def __init__(self, failed: list[KeyframeError]) -> None:
        self.failed = failed

    def run(self, manifest: str, progress: Progress) -> dict[str, Any]:
        progress(3, 3)
        if len(self.failed) == 3:
            raise KeyframeError(manifest)
        return {"utterances": 3 - len(self.failed)}


def render(report: Any) -> Table:
    table = Table("utterances")
    table.add_row(str(report["utterances"]))
    return table


def test_all_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure(Listening([]), "dev.tsv", render, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == {"utterances": 3}
    said = capsys.readouterr()
    assert "3" in said.out and said.err == ""


def test_what_is_not_counted_is_named_and_the_rest_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyframeError) as found:
        measure(Listening([AudioError("a.wav")]), "dev.tsv", render, tmp_path / "report.json")
    assert "dev.tsv" in str(found.value) and "1 of 3" in str(found.value)
    assert json.loads((tmp_path / "report.json").read_text()) == {"utterances": 2}
    said = capsys.readouterr()
    assert "2" in said.out and "a.wav" in said.err


def test_nothing_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["a.wav", "b.wav", "c.wav"]
    with pytest.raises(KeyframeError):
        failed: list[KeyframeError] = [AudioError(name) for name in names]
        measure(Listening(failed), "dev.tsv", render, tmp_path / "report.json")
    said = capsys.readouterr()
    assert [name for name in names if name in said.err] == names and said.out == ""
    assert not (tmp_path / "report.json").exists()


def test_without_a_terminal_progress_is_a_line_from_time_to_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = iter([0.0, 1.0, SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_LINES + 1.0, 99.0])
    with progress_shown("recognising", lambda: next(clock)) as progress:
        for done in range(1, 5):
            progress(done, 4)
    lines = capsys.readouterr().err.splitlines()
    assert [("2 of 4" in line, "4 of 4" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]


def test_lines_name_their_step(capsys: pytest.CaptureFixture[str]) -> None:
    moments = iter([0.0, 1.0, SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_LINES + 1])
    line = progress_lines(lambda: next(moments))
    for done in (1, 2, 3):
        line("opening recordings", done, 9)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "opening recordings: 2 of 9\n"
