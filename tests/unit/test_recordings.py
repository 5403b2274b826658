"""Files, folders, patterns and lists: which recordings a command line means, and where to write."""

from __future__ import annotations

import glob
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures.errors import names as names_in
from fixtures.errors import refused
from keyframe_asr.cli.output_files import targets
from keyframe_asr.cli.recordings import Named, recordings_named
from keyframe_asr.errors import AudioError


@pytest.fixture()
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b/x.wav", "a/x.FLAC", "a/deep/y.mp3", "a/._x.wav", ".hidden/z.wav", "a/n.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given: str) -> list[tuple[str, str]]:
    found = recordings_named(given).named
    return [(one.path.as_posix(), one.relative.as_posix()) for one in found]


def test_a_folder_is_searched_at_any_depth_and_keeps_its_structure(tree: Path) -> None:
    assert names("in") == [
        ("in/a/x.FLAC", "a/x.FLAC"),
        ("in/a/deep/y.mp3", "a/deep/y.mp3"),
        ("in/b/x.wav", "b/x.wav"),
    ]
    assert recordings_named(["in"]).searched


def test_files_are_taken_as_named(tree: Path) -> None:
    assert names("in/a/n.txt", "gone.wav", "in/b/x.wav") == [
        ("in/a/n.txt", "n.txt"),
        ("gone.wav", "gone.wav"),
        ("in/b/x.wav", "x.wav"),
    ]
    assert not recordings_named(["in/a/n.txt"]).searched


def test_patterns(tree: Path) -> None:
    assert names("in/*/x.*") == [("in/a/x.FLAC", "a/x.FLAC"), ("in/b/x.wav", "b/x.wav")]
    assert names("in/**/*.mp3") == [("in/a/deep/y.mp3", "a/deep/y.mp3")]
    assert names("**/b/*") == [("in/b/x.wav", "in/b/x.wav")]
    assert names("in/**") == [
        ("in/a/deep/y.mp3", "a/deep/y.mp3"),
        ("in/a/n.txt", "a/n.txt"),
        ("in/a/x.FLAC", "a/x.FLAC"),
        ("in/b/x.wav", "b/x.wav"),
    ]
    assert names("in/.h*/*.wav") == [("in/.hidden/z.wav", ".hidden/z.wav")]
    (tree / "in" / "[1].wav").touch()
    assert names("in/[1].wav") == [("in/[1].wav", "[1].wav")], "a file of that name comes first"


@pytest.mark.parametrize("pattern", ["in/*/x.*", "in/**/*.mp3", "**/*.wav", "*/?/*.[Ff]*", "in/**"])
def test_patterns_match_what_they_match_in_python(tree: Path, pattern: str) -> None:
    expected = {path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)}
    assert {path for path, _ in names(pattern)} == expected != set()


def test_the_home_folder(tree: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tree))
    assert names("~/in/b/*.wav") == [(f"{tree.as_posix()}/in/b/x.wav", "x.wav")]
    assert names("~/in/b/x.wav") == [(f"{tree.as_posix()}/in/b/x.wav", "x.wav")]


def test_what_is_found_twice_is_taken_once(tree: Path) -> None:
    assert names("in/b/x.wav", "in") == [("in/b/x.wav", "x.wav"), *names("in")[:2]]
    assert names("in", "in/", "./in", "in/**/*.wav", str(tree / "in")) == names("in")
    assert names("in/b/x.wav", "in/b/../b/x.wav") == [("in/b/x.wav", "x.wav")]
    assert recordings_named(["in", "in/"]).skipped == []


def test_what_holds_none_fails_and_the_others_go_on(tree: Path) -> None:
    found = recordings_named(["empty", "in/*.wav", "", "in/b"])
    assert [one.path for one in found.named] == [Path("in/b/x.wav")]
    assert len(found.failed) == 3
    for error, name in zip(found.failed, ("empty", "in/*.wav", "''"), strict=True):
        assert names_in(str(error), f"{name}: ")


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_a_list_on_standard_input(tree: Path, monkeypatch, separator: bytes) -> None:
    paths = [b"in/b/x.wav", b"/data/one.wav", b"../two.wav", b"in/\xc4.wav"]
    content = separator.join(paths) + separator
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    found = recordings_named(["-"])
    assert found.searched
    assert [os.fsencode(one.path) for one in found.named] == paths
    assert [os.fsencode(one.relative) for one in found.named] == [
        b"in/b/x.wav",
        b"one.wav",
        b"two.wav",
        b"in/\xc4.wav",
    ]


def test_an_empty_list_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\n")))
    with refused(AudioError):
        recordings_named(["-"])


def test_targets_never_collide(tree: Path) -> None:
    found = recordings_named(["in"]).named
    out = targets(found, Path("out"), False, ".srt")
    assert [one.as_posix() for one in out if one] == [
        "out/a/x.srt",
        "out/a/deep/y.srt",
        "out/b/x.srt",
    ]
    beside = targets(found, None, True, ".txt")
    assert [one.as_posix() for one in beside if one] == [
        "in/a/x.txt",
        "in/a/deep/y.txt",
        "in/b/x.txt",
    ]
    assert targets(found, None, False, ".txt") == [None] * 3
    twice = [
        Named(Path("p/one.v2.wav"), Path("one.v2.wav")),
        Named(Path("q/one.v2.wav"), Path("one.v2.wav")),
    ]
    assert targets(twice, None, True, ".txt") == [Path("p/one.v2.txt"), Path("q/one.v2.txt")]
    with refused(AudioError, "p/one.v2.wav", "q/one.v2.wav", "out/one.v2.wav.txt"):
        targets(twice, Path("out"), False, ".txt")
