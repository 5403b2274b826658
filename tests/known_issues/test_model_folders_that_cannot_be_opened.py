"""Once, a model folder without permission, a name that is too long and an output folder that is a
file ended in a traceback."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import save_random_model
from keyframe_asr.errors import ModelError
from keyframe_asr.io.model_folder import find_model


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "x/" + "b" * 300])
def test_a_name_that_no_file_can_have(name: str) -> None:
    with refused(ModelError, name):
        find_model(name)


@pytest.mark.parametrize("verb", ["align", "inspect", "quantise", "measure-times", "calibrate"])
def test_every_verb_says_it_in_one_line(tmp_path: Path, verb: str) -> None:
    out = ["--out", tmp_path / "out"]
    given = {"align": ["text"], "quantise": out, "calibrate": out}.get(verb, [])
    audio = [] if verb == "quantise" else [tmp_path / "a.wav"]
    assert "a" * 300 in keyframe(verb, "a" * 300, *audio, *given, folder=tmp_path).error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    model.chmod(0)
    try:
        with refused(ModelError, model):
            find_model(model)
    finally:
        model.chmod(0o755)


def test_a_folder_whose_content_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a file system that refuses, because a superuser may open everything."""
    model = save_random_model(tmp_path / "model")
    plain = os.stat

    def refusing(path: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{model}/"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return plain(path, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refusing)
        with refused(ModelError, f"{model}: ", os.strerror(errno.EACCES)):
            find_model(model)


def test_an_output_folder_that_is_a_file(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    (tmp_path / "file").write_text("kept")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        done = keyframe("quantise", model, "--every-weight", "--out", out)
        assert str(out) in done.error
    assert (tmp_path / "file").read_text() == "kept"


def test_a_model_card_in_another_encoding(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    (model / "README.md").write_bytes("# für\n".encode("latin-1"))
    keyframe("quantise", model, "--every-weight", "--out", tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_bytes() == (model / "README.md").read_bytes()
