"""`keyframe transcribe` on folders, in several processes, and a second time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import Ran, keyframe
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.cli.output_record import RECORD
from keyframe_asr.cli.transcribe import in_order
from keyframe_asr.inference.many import GROUP_FILES, groups_by_size
from keyframe_asr.results import RecognitionResult, Transcript


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("models") / "random")


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("a/x.wav", "b/x.wav", "b/c/y.flac", "z.wav")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "in" / name, noise(0.5 + 0.3 * number, number), RATE)
    (tmp_path / "in" / "a" / "bad.wav").write_text("this is no recording")
    return tmp_path / "in"


def transcribe(*arguments: object, stdin: str = "") -> Ran:
    return keyframe("transcribe", *arguments, stdin=stdin)


def contents(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(errors="replace")
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }


def test_a_folder_into_a_folder_and_again(model: Path, folder: Path, tmp_path: Path) -> None:
    first = transcribe(model, folder, "--out", tmp_path / "out")
    assert first.exit_code == 1 and first.stdout == ""
    error, summary, failed = first.stderr.splitlines()
    assert error.startswith(f"keyframe: error: {folder}/a/bad.wav: ")
    assert summary.startswith("4 of 5 recordings done, 1 failed; 3.8 s of ")
    assert failed == error.replace("keyframe: error:", "  failed:")
    written = contents(tmp_path / "out")
    assert list(written) == ["a/x.txt", "b/c/y.txt", "b/x.txt", "z.txt"]

    (tmp_path / "out" / "z.txt").unlink()
    (tmp_path / "out" / "a" / "x.txt").write_text("kept\n")
    (folder / "a" / "bad.wav").unlink()
    again = transcribe(model, folder, "--out", tmp_path / "out")
    assert again.exit_code == 0
    assert "1 of 4 recordings" in again.stderr
    assert contents(tmp_path / "out") == written | {"a/x.txt": "kept\n"}
    anew = transcribe(model, folder, "--out", tmp_path / "out", "--overwrite")
    assert anew.exit_code == 0 and "4 of 4 recordings" in anew.stderr
    assert contents(tmp_path / "out") == written
    finished = transcribe(model, folder, "--out", tmp_path / "out")
    assert finished.exit_code == 0 and "0 of 4 recordings" in finished.stderr


def test_several_processes_find_the_same(model: Path, folder: Path) -> None:
    """Started as a shell does, which sees what the other tests see in their own process."""
    for name in ("b/x.wav", "z.wav"):  # of a telephone, of which is warned once
        soundfile.write(folder / name, noise(1.0, rate=8000), 8000)
    one = transcribe(model, folder)
    program = [sys.executable, "-m", "keyframe_asr.cli.main"]
    several = subprocess.run(
        [*program, "transcribe", model, folder, "--workers", "2", "--threads", "1"],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert several.returncode == one.exit_code == 1
    assert several.stdout == one.stdout
    assert len(one.stdout.splitlines()) == 4
    varies = re.compile(r"[\d.]+ s, [\d.]+ times|keyframe: \d+%.*\n|(?<=warning: )\S+")
    told = [sorted(varies.sub("", ran.stderr).splitlines()) for ran in (several, one)]
    assert told[0] == told[1]
    assert "bad.wav" in one.stderr and one.stderr.count("warning: ") == 1


def test_beside(model: Path, folder: Path) -> None:
    result = transcribe(model, f"{folder}/*/x.wav", "--beside")
    assert result.exit_code == 0 and result.stdout == ""
    assert {"a/x.txt", "b/x.txt"} < set(contents(folder))
    again = transcribe(model, f"{folder}/*/x.wav", "--beside")
    assert again.exit_code == 0 and "2 skipped" in again.stderr
    both = transcribe(model, folder, "--beside", "--out", folder).usage_error
    assert "--beside" in both and "--out" in both


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_cannot_be_written_stops_no_other(model: Path, folder: Path) -> None:
    (folder / "a").chmod(0o500)
    try:
        result = transcribe(model, folder, "--beside")
    finally:
        (folder / "a").chmod(0o700)
    assert result.exit_code == 1 and "a/x.txt: " in result.stderr
    assert (folder / "z.txt").is_file()


def test_a_target_that_is_a_folder_is_one_failure(model: Path, folder: Path) -> None:
    (folder / "a" / "x.txt").mkdir()
    result = transcribe(model, folder / "a", folder / "z.wav", "--beside", "--overwrite")
    assert result.exit_code == 1
    assert "a/x.txt: " in result.stderr
    assert (folder / "z.txt").is_file()


def test_a_list_on_standard_input_names_each(model: Path, folder: Path) -> None:
    result = transcribe(model, "-", stdin=f"{folder}/z.wav\n{folder}/gone.wav\n")
    assert result.exit_code == 1
    (line,) = result.stdout.splitlines()
    assert line.startswith(f"{folder}/z.wav\t")
    assert f"{folder}/gone.wav: " in result.stderr


def test_a_long_recording(model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", noise(45.0, rate=22_050), 22_050)
    result = transcribe(
        model,
        tmp_path / "long.flac",
        "--format",
        "json",
        "--vad",
        "loudness",
        "--batch-seconds",
        20,
    )
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["duration"] == pytest.approx(45.0, abs=0.01)
    assert len(found["segments"]) > 1 and found["tokens"][-1]["start"] > 40


def test_groups_hold_every_recording_once_and_a_long_one_alone(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.wav" for number in range(300)]
    for number, path in enumerate(paths):
        path.write_bytes(b"")
        os.truncate(path, 20_000_000 if number == 50 else 100_000)
    groups = groups_by_size([*paths, tmp_path / "gone.wav"], 2)
    assert [place for group in groups for place in group] == list(range(301))
    assert [50] in groups
    assert max(map(len, groups)) <= GROUP_FILES
    assert groups_by_size(paths[:3], 2) == [[0], [1], [2]]


def test_order_is_restored_as_early_as_possible() -> None:
    a, b, c, d = (
        RecognitionResult(index, None, Transcript(text)) for index, text in enumerate("abcd")
    )
    given = iter([c, a, b, d])
    ordered = in_order(given)
    assert next(ordered) is a
    assert next(given) is b, "it has not read further than it had to"
    assert list(in_order([b, a])) == [a, b]


@pytest.mark.parametrize("kind", ["srt", "vtt", "textgrid"])
def test_several_recordings_are_no_one_file_of_subtitles(
    kind: str, model: Path, folder: Path
) -> None:
    said = transcribe(model, folder, "--format", kind).usage_error
    assert "--out DIR" in said and "--beside" in said
    assert transcribe(model, folder / "z.wav", "--format", kind).exit_code == 0
