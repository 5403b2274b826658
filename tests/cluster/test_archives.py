"""`keyframe transcribe --engine ray` on a simulated cluster: rows, faults, and going on."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
from pyarrow import parquet

from fixtures.command_line import Ran, keyframe
from fixtures.errors import refused
from fixtures.fragile import half
from fixtures.server import SOURCE
from fixtures.spoken import RATE, SENTENCES, spoken
from keyframe_asr.cluster.manifest import Recording, recordings_of
from keyframe_asr.cluster.pieces import Job, Piece
from keyframe_asr.cluster.places import Store
from keyframe_asr.cluster.record import Record, read_once
from keyframe_asr.cluster.results import Assembly, Counted, alone_name, write_part
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.settings import fingerprint, recognition_settings

MODEL = "demo"


def write_manifest(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.fixture(scope="package")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short recordings, and one that is cut: five minutes, in which speech goes on over cuts."""
    folder = tmp_path_factory.mktemp("archive")
    for number, sentence in enumerate(SENTENCES):
        soundfile.write(folder / f"{number}.flac", spoken(sentence, pause=0.4), RATE)
    dense, pauses = spoken(*SENTENCES, pause=0.02), spoken(*SENTENCES[:2])
    soundfile.write(folder / "long.flac", np.concatenate([*[dense] * 5, *[pauses] * 6]), RATE)
    (folder / "broken.wav").write_bytes(b"RIFF no more")
    return folder


def on_ray(cluster: Any, manifest: Path, out: Path, *options: object) -> Ran:
    where = ("--engine", "ray", "--address", cluster.address)
    return keyframe("transcribe", MODEL, manifest, *where, "--out", out, *options)


def rows_of(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = parquet.read_table(out).to_pylist()
    return rows


@pytest.fixture(scope="package")
def ran(cluster: Any, speech: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    out = tmp_path_factory.mktemp("results") / "out"
    names = ["3.flac", "long.flac", "missing.flac", "0.flac", "broken.wav"]
    rows = [{"id": f"id-{name}", "audio": name} for name in names]
    part = {"id": "part", "audio": "long.flac", "start": 2.5, "duration": 9.25}
    manifest = write_manifest(speech / "manifest.jsonl", [*rows, part])
    return on_ray(cluster, manifest, out), out


@pytest.mark.slow
def test_every_recording_has_a_row_in_order(ran: tuple[Ran, Path]) -> None:
    done, out = ran
    rows = rows_of(out)
    names = ("3.flac", "long.flac", "missing.flac", "0.flac", "broken.wav")
    assert [row["id"] for row in rows] == [*(f"id-{name}" for name in names), "part"]
    failed = [row["id"] for row in rows if row["error"] is not None]
    assert failed == ["id-missing.flac", "id-broken.wav"]
    assert done.exit_code == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("keyframe: error: 2 of 6 ")
    assert done.stdout == ""
    lines = done.stderr.splitlines()  # nothing of Ray's
    assert all(line.startswith(("keyframe: ", "6 recordings, ")) for line in lines), lines
    assert [path.name for path in out.iterdir() if path.name[0] != "."] == ["part-00000.parquet"]
    assert [path.name for path in (out / ".keyframe").iterdir()] == ["record.json"]


@pytest.mark.slow
def test_texts_are_those_of_one_process(ran: tuple[Ran, Path], speech: Path) -> None:
    """Also of a recording that was cut and recognised in pieces."""
    rows = {row["id"]: row for row in rows_of(ran[1])}
    files = [speech / name for name in ("3.flac", "0.flac", "long.flac")]
    alone = keyframe("transcribe", MODEL, *files, "--format", "jsonl", "--threads", 1)
    for line in alone.stdout.splitlines():
        expected = json.loads(line)
        row = rows[f"id-{Path(expected['audio']).name}"]
        assert row["text"] == expected["text"]
        assert row["duration"] == pytest.approx(expected["duration"], abs=1e-4)
        assert len(row["segments"]) == len(expected["segments"])
        assert [token["text"] for token in row["tokens"]] == [
            token["text"] for token in expected["tokens"]
        ]
        for name in ("start", "end", "confidence"):
            assert [token[name] for token in row["tokens"]] == pytest.approx(
                [token[name] for token in expected["tokens"]], abs=1e-3
            )
    assert len(rows["id-long.flac"]["segments"]) > 10
    assert rows["part"]["duration"] == pytest.approx(9.25)
    assert rows["part"]["text"]


@pytest.mark.slow
def test_rows_say_what_made_them(ran: tuple[Ran, Path]) -> None:
    row = rows_of(ran[1])[3]
    assert (row["model"], row["language"], row["error"]) == (MODEL, "zh", None)
    assert len(row["model_sha256"]) == 64
    assert 0 < row["confidence"] <= 1
    assert row["decode"] in ("ctc", "axe", "rescore", "joint", "attention")
    assert isinstance(json.loads(row["options"]), dict)


@pytest.mark.slow
def test_the_same_command_finds_all_done_and_another_is_refused(
    ran: tuple[Ran, Path], speech: Path, cluster: Any
) -> None:
    _, out = ran
    before = (out / "part-00000.parquet").stat()
    again = on_ray(cluster, speech / "manifest.jsonl", out)
    assert again.exit_code == 1
    assert len(again.stderr.splitlines()) == 2
    assert (out / "part-00000.parquet").stat() == before
    for options in (("--decode", "ctc", "--beam", 3), ("--shards", "jsonl")):
        done = on_ray(cluster, speech / "manifest.jsonl", out, *options)
        assert str(out) in done.error
    other = write_manifest(speech / "other.jsonl", [{"id": "x", "audio": "0.flac"}])
    assert str(out) in on_ray(cluster, other, out).error


@pytest.mark.slow
def test_killed_at_any_moment_and_a_machine_lost(
    cluster: Any, speech: Path, tmp_path: Path
) -> None:
    """The driver is killed when some results are there, and a machine goes while it goes on."""
    out, count = tmp_path / "out", 90
    rows = [
        {"id": f"utterance {number}", "audio": f"{number % 5}.flac", "duration": 20.0}
        for number in range(count)
    ]
    manifest = write_manifest(speech / "many.jsonl", rows)  # a job for each
    done = out / ".keyframe" / "checkpoints"
    machine = cluster.add_node(num_cpus=1)
    command = [sys.executable, "-m", "keyframe_asr", "transcribe", MODEL, str(manifest)]
    command += ["--engine", "ray", "--address", cluster.address, "--out", str(out)]
    driver = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, stderr=subprocess.PIPE
    )
    wait_for(done, 5)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    kept = committed(done)
    assert 5 <= kept < count
    assert not list(out.glob("part-*"))

    def lose_machine() -> None:
        wait_for(done, kept + 10)
        cluster.remove_node(machine)

    losing = threading.Thread(target=lose_machine)
    losing.start()
    ran = on_ray(cluster, manifest, out)
    losing.join()
    assert ran.exit_code == 0, ran.stderr
    found = rows_of(out)
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert [row["error"] for row in found] == [None] * count
    texts = {row["audio"]: row["text"] for row in found}
    assert len(texts) == 5 and any(texts.values())
    assert all(row["text"] == texts[row["audio"]] for row in found)


@pytest.mark.slow
def test_work_that_ends_its_process_does_not_end_the_others(cluster: Any) -> None:
    from keyframe_asr.cluster.ray_engine import connected, spread

    with connected(cluster.address, 2) as machines:
        found = dict(spread(half, [1, 13, 2], 2))
    assert machines["CPU"] == 2
    assert found == {1: 0.5, 13: None, 2: 1.0}


def committed(folder: Path) -> int:
    names = [path.name for path in folder.glob("*.parquet")]
    return sum(not name.endswith(".pending.parquet") for name in names)


def wait_for(folder: Path, count: int) -> None:
    """Wait until so many jobs have their results."""
    until = time.monotonic() + 120
    while committed(folder) < count:
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_a_plan_recognises_nothing(cluster: Any, speech: Path, tmp_path: Path) -> None:
    rows = [{"id": str(n), "audio": f"{n % 5}.flac"} for n in range(6)]
    manifest = write_manifest(speech / "planned.jsonl", [*rows, {"id": "x", "audio": "no.flac"}])
    done = on_ray(cluster, manifest, tmp_path / "out", "--plan")
    assert done.exit_code == 0, done
    first, *others = done.stdout.splitlines()
    assert first.startswith("7 recordings, ") and len(others) == 2
    assert not (tmp_path / "out").exists()


def test_no_cluster_at_an_address(speech: Path, tmp_path: Path) -> None:
    manifest = write_manifest(speech / "one.jsonl", [{"id": "x", "audio": "0.flac"}])
    options = ("--engine", "ray", "--address", "127.0.0.1:9", "--out", tmp_path / "out")
    assert "127.0.0.1:9" in keyframe("transcribe", MODEL, manifest, *options).error


def test_results_of_others_are_not_touched(speech: Path, tmp_path: Path) -> None:
    manifest = write_manifest(speech / "two.jsonl", [{"id": "x", "audio": "0.flac"}])
    (tmp_path / "mine.txt").touch()
    for out in (tmp_path, manifest / "below a file"):
        done = keyframe("transcribe", MODEL, manifest, "--engine", "ray", "--out", out)
        assert str(out) in done.error
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def begun_elsewhere(manifest: Path, out: Path, **changed: Any) -> Path:
    """Write the record of a command that has ended, all of whose results were written."""
    from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions

    settings = recognition_settings(MODEL, RecognitionOptions(), ComputeOptions())
    known = read_once(str(manifest), recordings_of(str(manifest)))
    values: dict[str, Any] = {"jobs": (1,), "counted": asdict(Counted(recordings=1))} | changed
    store = Store(str(out))
    store.make(".keyframe")
    Record(fingerprint(settings), settings, known.sha256, "parquet", **values).write(store)
    return out / ".keyframe" / "record.json"


def test_results_that_were_removed_are_missed(speech: Path, tmp_path: Path) -> None:
    manifest = write_manifest(speech / "four.jsonl", [{"id": "x", "audio": "0.flac"}])
    out = tmp_path / "out"
    begun_elsewhere(manifest, out, jobs=(1, 1))
    (out / "part-00000.parquet").touch()
    options = ("--engine", "ray", "--out", out)
    done = keyframe("transcribe", MODEL, manifest, *options)
    assert done.exit_code == 1
    assert str(out / "part-00001.parquet") in done.error
    (out / "part-00001.parquet").touch()
    assert keyframe("transcribe", MODEL, manifest, *options).exit_code == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"jobs": 1}', '{"jobs": []}'])
def test_a_damaged_record_is_named(speech: Path, tmp_path: Path, content: str) -> None:
    manifest = write_manifest(speech / "five.jsonl", [{"id": "x", "audio": "0.flac"}])
    out = tmp_path / "out"
    record = begun_elsewhere(manifest, out)
    record.write_text(content)
    done = keyframe("transcribe", MODEL, manifest, "--engine", "ray", "--out", out)
    assert str(record) in done.error
    assert "--overwrite" in done.error


def test_results_do_not_go_among_the_recordings(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").touch()
    (tmp_path / "link").symlink_to(tmp_path / "in")
    for out in (tmp_path / "in", tmp_path / "link" / "out"):
        done = keyframe("transcribe", MODEL, tmp_path / "in", "--engine", "ray", "--out", out)
        assert str(out) in done.error
    assert not Store(str(tmp_path / "inside")).is_inside(str(tmp_path / "in"))
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/in/a.wav", b"x")
    assert Store("memory://bucket/in/out").is_inside("memory://bucket/in")
    assert not Store("memory://bucket/inside").is_inside("memory://bucket/in")
    memory.rm("/bucket", recursive=True)


def test_a_folder_without_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    store.check_room()
    assert not list((tmp_path / ".keyframe").iterdir())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with refused(KeyframeError, tmp_path, os.strerror(errno.ENOSPC)):
        store.check_room()


def test_a_job_without_all_its_results_is_named(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    pieces = tuple(Piece(Recording("x", "x.wav"), number, 3, 9) for number in range(2))
    store.make(".keyframe/jobs")
    store.make(".keyframe/alone")
    store.write(".keyframe/jobs/00000-00000.json", Job("00000-00000", pieces).to_json())
    assembly = Assembly(str(tmp_path), "jsonl", TextForm(), {"options": "{}"})
    for count in (1, 2):  # too few results, and too few pieces
        results = {"results": [{"error": "e"}] * count, "took": 0.0}
        store.write(alone_name("00000-00000"), json.dumps(results).encode())
        with refused(KeyframeError, tmp_path, "00000-00000"):
            write_part(assembly, 0, ["00000-00000"], {})
    assert not list(tmp_path.glob("part-*"))


def test_the_probe_of_a_plan_is_bounded() -> None:
    from keyframe_asr.cluster.plan import LONGEST_PROBED, _probed

    short, long, unknown = (Recording(name, name) for name in ("short", "long", "unknown"))
    assert _probed([(unknown, 0.0), (long, 4000.0), (short, 9.0)]) == [Piece(short)]
    part = replace(long, start=0.0, seconds=LONGEST_PROBED)
    assert _probed([(unknown, 0.0), (long, 4000.0)]) == [Piece(part)]


def test_two_commands_do_not_write_to_one_folder(speech: Path, tmp_path: Path) -> None:
    manifest = write_manifest(speech / "three.jsonl", [{"id": "x", "audio": "0.flac"}])
    out = tmp_path / "out"
    with Store(str(out)).kept():
        done = keyframe("transcribe", MODEL, manifest, "--engine", "ray", "--out", out)
    assert str(out) in done.error
    assert not list(out.iterdir())
