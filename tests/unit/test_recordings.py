"""Files, folders, patterns and lists: which recordings a command line means, and where to write."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures.errors import refused
from keyframe_asr.cli.recordings import Named, recordings_named, targets
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
    found = recordings_named([Path(one) for one in given]).named
    return [(one.path.as_posix(), one.relative.as_posix()) for one in found]


def test_a_folder_is_searched_at_any_depth_and_keeps_its_structure(tree: Path) -> None:
    assert names("in") == [
        ("in/a/x.FLAC", "a/x"),
        ("in/a/deep/y.mp3", "a/deep/y"),
        ("in/b/x.wav", "b/x"),
    ]
    assert recordings_named([Path("in")]).searched


def test_files_are_taken_as_named(tree: Path) -> None:
    assert names("in/a/n.txt", "gone.wav", "in/b/x.wav", "in/b/x.wav") == [
        ("in/a/n.txt", "n"),
        ("gone.wav", "gone"),
        ("in/b/x.wav", "x"),
        ("in/b/x.wav", "x"),
    ]
    assert not recordings_named([Path("in/a/n.txt")]).searched


def test_patterns(tree: Path) -> None:
    assert names("in/*/x.*") == [("in/a/x.FLAC", "a/x"), ("in/b/x.wav", "b/x")]
    assert names("in/**/*.mp3") == [("in/a/deep/y.mp3", "a/deep/y")]
    (tree / "in" / "[1].wav").touch()
    assert names("in/[1].wav") == [("in/[1].wav", "[1]")], "a file of that name comes first"


def test_what_is_found_twice_is_taken_once(tree: Path) -> None:
    assert names("in/b/x.wav", "in") == [("in/b/x.wav", "x"), *names("in")[:2]]


def test_what_holds_none_stands_for_itself(tree: Path) -> None:
    assert names("empty", "in/*.wav", "in/b") == [
        ("empty", "empty"),
        ("in/*.wav", "*"),
        ("in/b/x.wav", "x"),
    ]


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_a_list_on_standard_input(tree: Path, monkeypatch, separator: bytes) -> None:
    paths = [b"in/b/x.wav", b"/data/one.wav", b"../two.wav", b"in/\xc4.wav"]
    content = separator.join(paths) + separator
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    found = recordings_named([Path("-")])
    assert found.searched
    assert [os.fsencode(one.path) for one in found.named] == paths
    assert [os.fsencode(one.relative) for one in found.named] == [
        b"in/b/x",
        b"one",
        b"two",
        b"in/\xc4",
    ]


def test_an_empty_list_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"\n")))
    with refused(AudioError):
        recordings_named([Path("-")])


def test_targets_never_collide(tree: Path) -> None:
    found = recordings_named([Path("in")]).named
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
        Named(Path("p/one.v2.wav"), Path("one.v2")),
        Named(Path("q/one.v2.wav"), Path("one.v2")),
    ]
    assert targets(twice, None, True, ".txt") == [Path("p/one.v2.txt"), Path("q/one.v2.txt")]
    with refused(AudioError, "p/one.v2.wav", "q/one.v2.wav", "out/one.v2.txt"):
        targets(twice, Path("out"), False, ".txt")
