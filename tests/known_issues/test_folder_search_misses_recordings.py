"""A folder search left out linked and unreadable folders and many formats without a word.

A pattern walked a loop of links dozens of times, and a pipe in a folder was read for ever.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import soundfile

from fixtures.command_line import ERROR, keyframe, lacking
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.audio.reading import read_audio
from keyframe_asr.audio.suffixes import BY_FFMPEG, BY_LIBSNDFILE, readable_suffixes
from keyframe_asr.cli.recordings import recordings_named

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")


@pytest.fixture()
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("in/a/x.wav", "in/b/y.wav", "elsewhere/z.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, noise(0.5), RATE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*given: str) -> tuple[list[str], list[str]]:
    """The recordings, and what was left out."""
    recordings = recordings_named(given)
    assert recordings.failed == []
    named = [one.path.as_posix() for one in recordings.named]
    return named, [one.path.as_posix() for one in recordings.skipped]


@pytest.mark.parametrize("given", ["in", "in/**/*.wav", "in/**"])
def test_linked_folders_are_searched_once(tree: Path, given: str) -> None:
    os.symlink("../../elsewhere", "in/b/linked")
    os.symlink("..", "in/a/loop")
    os.symlink("../b", "in/a/other")
    assert found(given) == (
        ["in/a/other/linked/z.wav", "in/a/other/y.wav", "in/a/x.wav"]
        if given != "in"
        else ["in/a/x.wav", "in/a/other/y.wav", "in/a/other/linked/z.wav"],
        ["in/a/loop", "in/b"],
    )


def test_two_loops_of_links_end(tree: Path) -> None:
    """Each link doubles what a walk without memory visits."""
    for name in ("one", "two", "three"):
        os.symlink(".", f"in/{name}")
    assert found("in/**/**/*.wav")[0] == ["in/a/x.wav", "in/b/y.wav"]


def test_a_linked_file_is_taken_once_and_named(tree: Path) -> None:
    os.symlink("x.wav", "in/a/y.wav")
    assert found("in") == (["in/a/x.wav", "in/b/y.wav"], ["in/a/y.wav"])


@pytest.mark.parametrize("given", ["in", "in/*/*", "in/**/*.wav"])
def test_a_pipe_is_left_out_and_named(tree: Path, given: str) -> None:
    os.mkfifo("in/a/pipe.wav")
    assert found(given) == (["in/a/x.wav", "in/b/y.wav"], ["in/a/pipe.wav"])
    model = save_random_model(tree / "model")
    result = keyframe("transcribe", model, given)
    assert result.exit_code == 0
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == found(given)[0]
    note, summary = result.stderr.splitlines()
    assert "in/a/pipe.wav" in note and summary.startswith("2 of 2 ")


@pytest.mark.parametrize("given", ["in", "in/**/*.wav", "in/*/*.wav"])
def test_a_folder_that_cannot_be_read_is_a_failure(
    tree: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """By a file system that fails, because a superuser may read everything."""
    plain = os.scandir

    def failing(path: str) -> object:
        if path.endswith("/b"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return plain(path)

    monkeypatch.setattr(os, "scandir", failing)
    recordings = recordings_named([given])
    assert [one.path.as_posix() for one in recordings.named] == ["in/a/x.wav"]
    (error,) = recordings.failed
    assert str(error).startswith("in/b: ")
    (error,) = recordings_named(["in/b"]).failed  # nothing more that it has no recordings
    assert os.strerror(errno.EIO) in str(error)
    monkeypatch.undo()


def test_a_broken_link_is_a_failure(tree: Path) -> None:
    os.symlink("nowhere", "in/a/broken.wav")
    os.symlink("self.wav", "in/a/self.wav")
    model = save_random_model(tree / "model")
    result = keyframe("transcribe", model, tree / "in")
    assert result.exit_code == 1
    assert [line.split("\t")[0] for line in result.stdout.splitlines()] == [
        f"{tree}/in/a/x.wav",
        f"{tree}/in/b/y.wav",
    ]
    errors = [line for line in result.stderr.splitlines() if line.startswith(ERROR)]
    assert ["broken.wav" in errors[0], "self.wav" in errors[1]] == [True, True]


@pytest.mark.parametrize("kind", BY_LIBSNDFILE)
def test_suffixes_of_formats_that_can_be_read(tmp_path: Path, kind: str) -> None:
    for suffix in BY_LIBSNDFILE[kind]:
        written = tmp_path / f"a{suffix.upper()}"
        soundfile.write(tmp_path / "a", noise(0.5), RATE, format=kind)
        (tmp_path / "a").rename(written)
        assert read_audio(written).size > 0
        assert [one.path for one in recordings_named([str(tmp_path)]).named] == [written]
        written.unlink()


def test_what_needs_a_package_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking("av", monkeypatch)
    readable_suffixes.cache_clear()
    for suffix in BY_FFMPEG:
        (tree / "in" / f"film{suffix}").touch()
    try:
        named, left_out = found("in")
    finally:
        readable_suffixes.cache_clear()
    assert named == ["in/a/x.wav", "in/b/y.wav"]
    assert left_out == sorted(f"in/film{suffix}" for suffix in BY_FFMPEG)
