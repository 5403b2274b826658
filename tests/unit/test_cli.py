"""The command line as a shell sees it: output, exit codes, one line for a user's mistake."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fixtures.command_line import keyframe
from fixtures.random_model import RATE, save_random_model
from keyframe_asr import __version__
from keyframe_asr.cli.main import VERBS, app
from keyframe_asr.cli.output_record import RECORD
from keyframe_asr.data.manifest import make_cut, save_manifest


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("models") / "random", keyframes=True)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    generator = np.random.default_rng(1)
    rows = ["utt_id\tspeaker\tduration_s\tpath\ttext\tsplit"]
    for name, seconds in (("one", 1.0), ("two", 1.5), ("three", 0.7)):
        samples = 0.1 * generator.normal(size=int(seconds * RATE))
        samples *= np.abs(np.sin(np.arange(samples.size) / 2000))
        soundfile.write(folder / f"{name}.wav", samples, RATE)
        rows.append(f"{name}\tspeaker\t{seconds}\t{name}.wav\tA CAFE\ttest")
    rows.append("gone\tspeaker\t1.0\tgone.wav\tA BED\tbroken")
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "table.tsv").write_text("\n".join(rows) + "\n")
    return folder


def test_help_names_every_verb() -> None:
    shown = keyframe("--help")
    assert shown.exit_code == 0
    assert all(name in shown.stdout for panel in VERBS.items() for name in (panel[0], *panel[1]))


def test_every_verb_is_registered() -> None:
    assert [command.name for command in app.registered_commands if not command.hidden] == [
        verb for verbs in VERBS.values() for verb in verbs
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-verb"],
        ["transcribe"],
        ["transcribe", "model", "file.wav", "--decode", "magic"],
        ["transcribe", "model", "file.wav", "--format", "docx"],
        ["evaluate", "model"],
        ["evaluate", "model", "table.tsv", "--beam", "0"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    result = keyframe(*arguments)
    assert result.exit_code == 2
    assert result.stdout == "" and result.stderr
    assert "Value error" not in result.stderr


def test_a_missing_model_is_one_line_and_exit_code_1() -> None:
    result = keyframe("transcribe", "no-such-model", "file.wav")
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("keyframe: error: no-such-model: ")


def test_transcribe_text(model: Path, recordings: Path) -> None:
    alone = keyframe("transcribe", model, recordings / "one.wav")
    assert alone.exit_code == 0
    assert set(alone.stdout.strip()) <= set("ABCDEF") and alone.stdout.strip()
    several = keyframe("transcribe", model, recordings / "one.wav", recordings / "silent.wav")
    assert several.stdout.splitlines() == [
        f"{recordings / 'one.wav'}\t{alone.stdout.strip()}",
        f"{recordings / 'silent.wav'}\t",
    ]


@pytest.mark.parametrize("mode", ["axe", "ctc", "attention", "rescore"])
def test_transcribe_json(model: Path, recordings: Path, mode: str) -> None:
    path = recordings / "two.wav"
    result = keyframe("transcribe", model, path, "--format", "json", "--decode", mode)
    found = json.loads(result.stdout)
    assert found["audio"] == str(path)
    assert found["duration"] == 1.5
    assert (found["model"], found["language"]) == (str(model), "en")
    assert (found["decode"], found["version"]) == (mode, __version__)
    assert 0 < found["frame_reduction"] < 1
    assert "".join(token["text"] for token in found["tokens"]) == found["text"] != ""
    assert set(found["tokens"][0]) == {"text", "start", "end", "confidence"}


def test_one_bad_file_does_not_stop_the_others(model: Path, recordings: Path) -> None:
    files = [recordings / name for name in ("empty.wav", "one.wav", "gone.wav", "two.wav")]
    result = keyframe("transcribe", model, *files)
    assert result.exit_code == 1
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [
        str(files[1]),
        str(files[3]),
    ]
    errors = result.stderr.splitlines()
    assert len(errors) == 2
    assert "empty.wav" in errors[0] and "gone.wav" in errors[1]


def test_transcribe_into_a_folder(model: Path, recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "texts"
    files = [recordings / "one.wav", recordings / "silent.wav"]
    result = keyframe("transcribe", model, *files, "--out", out, "--format", "json")
    assert (result.exit_code, result.stdout) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [RECORD, "one.json", "silent.json"]
    assert json.loads((out / "silent.json").read_text())["text"] == ""
    subtitles = keyframe("transcribe", model, files[0], "--format", "vtt")
    assert subtitles.stdout.startswith("WEBVTT\n\n00:00:0")
    clash = keyframe("transcribe", model, files[0], tmp_path / "one.wav", "--out", out)
    assert clash.exit_code == 1 and str(out / "one.wav.txt") in clash.stderr


def test_evaluate(model: Path, recordings: Path, tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    modes = ["axe", "ctc", "attention", "rescore"]
    options = [part for mode in modes for part in ("--decode", mode)]
    manifest = f"{recordings / 'table.tsv'}:test"
    result = keyframe("evaluate", model, manifest, *options, "--beam", 4, "--json", target)
    assert result.exit_code == 0, result.stderr
    assert all(mode in result.stdout for mode in modes)
    report = json.loads(target.read_text())
    assert report["model"] == "random"
    assert report["manifest"] == manifest
    assert report["utterances"] == 3
    assert report["audio_seconds"] == pytest.approx(3.2)
    assert 0 < report["frame_reduction"] < 1
    assert report["keyframes_per_token"] > 0
    assert list(report["decode"]) == modes
    for row in report["decode"].values():
        assert {"cer", "wer", "ci95", "substitutions", "deletions", "insertions", "rtf"} <= set(row)
        errors = row["substitutions"] + row["deletions"] + row["insertions"]
        assert row["wer"] == pytest.approx(errors / 6)
        assert row["ci95"][0] <= row["wer"] <= row["ci95"][1]
        assert row["rtf"] > 0


def test_evaluate_reads_parts_of_recordings(model: Path, recordings: Path, tmp_path: Path) -> None:
    """A manifest of parts of one file gives what a manifest of those parts as files gives."""
    samples, _ = soundfile.read(recordings / "two.wav", dtype="float32")
    parts, files = [], []
    for name, first, last in (("a", 0, 12000), ("b", 12000, 24000)):
        soundfile.write(tmp_path / f"{name}.wav", samples[first:last], RATE)
        files.append(make_cut(name, "", "A CAFE", tmp_path / f"{name}.wav", last - first))
        place = (first, last)
        path = recordings / "two.wav"
        parts.append(make_cut(name, "", "A CAFE", path, samples.size, RATE, place))
    reports = []
    for name, cuts in (("parts", parts), ("files", files)):
        save_manifest(cuts, tmp_path / f"{name}.jsonl")
        target = tmp_path / f"{name}.json"
        result = keyframe("evaluate", model, tmp_path / f"{name}.jsonl", "--json", target)
        assert result.exit_code == 0, result.stderr
        reports.append(json.loads(target.read_text()))
    assert reports[0]["audio_seconds"] == pytest.approx(1.5)
    for key in ("utterances", "audio_seconds", "frame_reduction", "keyframes_per_token"):
        assert reports[0][key] == reports[1][key]
    assert reports[0]["decode"]["axe"]["cer"] == reports[1]["decode"]["axe"]["cer"]


def test_evaluate_names_recordings_that_cannot_be_read(
    model: Path, recordings: Path, tmp_path: Path
) -> None:
    target = tmp_path / "report.json"
    result = keyframe("evaluate", model, recordings / "table.tsv", "--json", target)
    assert result.exit_code == 1
    assert "gone.wav" in result.stderr and "1 of 4" in result.stderr
    assert json.loads(target.read_text())["utterances"] == 3
    nothing = keyframe("evaluate", model, f"{recordings / 'table.tsv'}:broken")
    assert nothing.exit_code == 1
    reason, summary = nothing.stderr.splitlines()
    assert "gone.wav: " in reason and f"{recordings / 'table.tsv'}:broken" in summary


def test_a_manifest_without_texts_is_refused(model: Path, recordings: Path) -> None:
    table = recordings / "untold.tsv"
    table.write_text((recordings / "table.tsv").read_text().replace("A CAFE", ""))
    result = keyframe("evaluate", model, f"{table}:test")
    assert f"{table}:test" in result.error


def test_a_mode_the_model_lacks_is_refused(tmp_path: Path, recordings: Path) -> None:
    baseline = save_random_model(tmp_path / "baseline", keyframes=False)
    result = keyframe("evaluate", baseline, recordings / "table.tsv", "--decode", "axe")
    assert "'random'" in result.error and "'axe'" in result.error
    assert "ctc, attention, rescore, joint" in result.error


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there(model: Path, recordings: Path, device: str) -> None:
    result = keyframe("transcribe", model, recordings / "one.wav", "--device", device)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("keyframe: error: ") and device in line


def test_a_report_that_cannot_be_written(model: Path, recordings: Path) -> None:
    manifest = f"{recordings / 'table.tsv'}:test"
    result = keyframe("evaluate", model, manifest, "--json", recordings / "one.wav" / "x.json")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("keyframe: error: ")


def test_doctor_finds_this_installation_sound() -> None:
    result = keyframe("doctor")
    assert result.exit_code == 0, result.stdout
    assert "torch" in result.stdout and "FAIL" not in result.stdout
