"""Manifests of archives: ids and places, whatever they are written as."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow
import pytest
import soundfile
from pyarrow import parquet

from fixtures.errors import refused
from keyframe_asr.cluster.manifest import Recording, recordings_of
from keyframe_asr.cluster.record import read_once
from keyframe_asr.errors import KeyframeError, ManifestError, PackageError


def write_lines(file: Path, rows: list[Any]) -> str:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "wt", encoding="utf-8") as written:
        written.writelines(json.dumps(row) + "\n" for row in rows)
    return str(file)


def cut_of(name: str, source: dict[str, Any], **values: Any) -> dict[str, Any]:
    recording = {"id": "r", "sources": [source], "sampling_rate": 16000, "duration": 9.0}
    cut = {"id": name, "start": 0, "duration": 9.0, "channel": 0, "recording": recording}
    return cut | values


ROWS = [
    {"utt_id": "one", "path": "a/b.flac", "duration": 2.5, "start": None, "channel": None},
    {"utt_id": "two", "path": "s3://bucket/c.wav", "duration": None, "start": 1, "channel": 1},
]
EXPECTED = [("one", "a/b.flac", None, 2.5, None), ("two", "s3://bucket/c.wav", 1.0, None, 1)]


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet", "folder of parquet"])
def test_tables(tmp_path: Path, kind: str) -> None:
    if "parquet" in kind:
        given = tmp_path / "x.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), given)
        manifest = str(given if kind == "parquet" else tmp_path)
    else:
        manifest = write_lines(tmp_path / f"x.{kind}", ROWS)
    expected = [
        Recording(name, uri if ":" in uri else str(tmp_path / uri), *rest)
        for name, uri, *rest in EXPECTED
    ]
    assert list(recordings_of(manifest)) == expected


def test_a_table_of_the_project_and_one_split_of_it(tmp_path: Path) -> None:
    table = tmp_path / "m.tsv"
    lines = ["utt_id\tpath\tduration_s\tsplit", "x\tx.flac\t1.5\ttrain", "y\ty.flac\t2\ttest"]
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert [one.id for one in recordings_of(str(table))] == ["x", "y"]
    (found,) = recordings_of(f"{table}:test")
    assert found == Recording("y", str(tmp_path / "y.flac"), None, 2.0)


def test_ids_default_to_the_places_that_are_written(tmp_path: Path) -> None:
    manifest = write_lines(tmp_path / "x.jsonl", [{"audio_filepath": "a.wav", "offset": 0.5}])
    assert list(recordings_of(manifest)) == [Recording("a.wav", str(tmp_path / "a.wav"), 0.5)]


def test_lhotse_cuts(tmp_path: Path) -> None:
    stereo = {"type": "file", "channels": [0, 1], "source": "s.wav"}
    url = {"type": "url", "channels": [0], "source": "https://host/u.flac"}
    cuts = [
        cut_of("whole", url),
        cut_of("part", stereo, start=2.0, duration=3.0, channel=1),
    ]
    assert list(recordings_of(write_lines(tmp_path / "cuts.jsonl.gz", cuts))) == [
        Recording("whole", "https://host/u.flac", None, 9.0),
        Recording("part", str(tmp_path / "s.wav"), 2.0, 3.0, 1),
    ]
    memory = cut_of("inside", {"type": "memory", "channels": [0], "source": "AAAA"})
    with refused(ManifestError, "cuts.jsonl:1", "inside", "memory"):
        list(recordings_of(write_lines(tmp_path / "cuts.jsonl", [memory])))


def test_folders_here_and_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "_new").mkdir()
    seen = ("in/deep/z.FLAC", "in/a.wav", "in/_b.wav", "in/_new/c.wav")
    for name in (*seen, "in/notes.txt", "in/.hidden.wav", "in/table.parquet"):
        (tmp_path / name).touch()
    expected = ["_b.wav", "_new/c.wav", "a.wav", "deep/z.FLAC"]
    found = list(recordings_of(str(tmp_path / "in")))
    assert [one.id for one in found] == expected
    assert found[2].uri == str(tmp_path / "in" / "a.wav")
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/in/a.wav", b"x")
    (there,) = recordings_of("memory://bucket/in")
    assert there == Recording("a.wav", "memory://bucket/in/a.wav")
    memory.rm("/bucket", recursive=True)


def test_a_shar_folder(tmp_path: Path) -> None:
    from lhotse import CutSet, MonoCut
    from lhotse import Recording as Source

    soundfile.write(tmp_path / "x.wav", np.zeros(16000), 16000)
    source = Source.from_file(tmp_path / "x.wav")
    cuts = [MonoCut(f"cut/{n}", 0.0, 1.0, 0, recording=source) for n in range(5)]
    out = tmp_path / "shar"
    out.mkdir()
    CutSet.from_cuts(cuts).to_shar(out, fields={"recording": "flac"}, shard_size=3)
    found = list(recordings_of(str(out)))
    assert [one.id for one in found] == [f"cut/{n}" for n in range(5)]
    assert [Path(one.uri).name for one in found] == [
        *["recording.000000.tar"] * 3,
        *["recording.000001.tar"] * 2,
    ]
    assert found[4] == Recording("cut/4", found[4].uri, None, 1.0, None, "cut/4")


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"id": "x"}, "uri"),
        ({"uri": "x.wav", "start": -1}, -1),
        ({"uri": "x.wav", "duration": "long"}, "long"),
        ({"uri": "x.wav", "channel": 0.5}, 0.5),
        (["x.wav"], ":2"),
    ],
)
def test_faulty_entries_are_named(tmp_path: Path, row: Any, named: object) -> None:
    manifest = write_lines(tmp_path / "x.jsonl", [{"uri": "ok.wav"}, row])
    with refused(ManifestError, f"{manifest}:2", named):
        list(recordings_of(manifest))


def test_an_archive_is_read_once_for_its_size_and_its_ids(tmp_path: Path) -> None:
    one, other = Recording("a", "x", None, 2.0), Recording("b", "x")
    known = read_once("m", [one, other])
    assert (known.recordings, known.seconds, known.unknown) == (2, 2.0, 1)
    assert known.sha256 != read_once("m", [other, one]).sha256
    with refused(ManifestError, "m", "a"):
        read_once("m", [one, other, one])
    with refused(ManifestError, "m"):
        read_once("m", [])


def test_what_cannot_be_reached(tmp_path: Path) -> None:
    with refused(ManifestError, tmp_path / "no.jsonl"):
        list(recordings_of(str(tmp_path / "no.jsonl")))
    text = tmp_path / "x.txt"
    text.touch()
    with refused(ManifestError, text):
        list(recordings_of(str(text)))
    with refused(KeyframeError, "zz://a/b"):
        list(recordings_of("zz://a/b"))
    damaged = tmp_path / "x.parquet"
    damaged.write_bytes(b"PAR1 no more")
    with refused(ManifestError, damaged):
        list(recordings_of(str(damaged)))


@pytest.mark.parametrize(("scheme", "package"), [("s3", "s3fs"), ("gs", "gcsfs")])
def test_a_missing_package_is_named(
    scheme: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fixtures.command_line import lacking

    lacking(package, monkeypatch)
    with refused(PackageError, f"{scheme}://bucket/m.jsonl", package):
        list(recordings_of(f"{scheme}://bucket/m.jsonl"))
