"""`transcribe` in a batch job showed nothing for as long as it took."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyframe_asr.cli.recordings import Named, Recordings
from keyframe_asr.cli.transcribing_report import TranscribingReport
from keyframe_asr.timing import SECONDS_BETWEEN_LINES


def test_a_line_from_time_to_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / name for name in ("a.wav", "b.wav", "there.wav")]
    for path in paths:
        path.write_bytes(bytes(1000))
    found = Recordings([Named(path, Path(path.name)) for path in paths])
    clock = iter([0.0, 1.0, SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_LINES + 1, 100.0, 101.0])
    with TranscribingReport(found, paths[:2], lambda: next(clock)) as report:
        report.progress(0, 0.25)
        report.progress(0, 0.5)
        report.success(0, 1.0)
        report.success(1, 1.0)
    *lines, summary = capsys.readouterr().err.splitlines()
    assert summary.startswith("2 of 3 ")  # one was there
    assert [line.split(",")[0] for line in lines] == ["keyframe: 25%", "keyframe: 100%"]
    assert "0 of 3 " in lines[0] and "2 of 3 " in lines[1]
