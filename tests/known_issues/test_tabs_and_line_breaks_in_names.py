"""A tab or line break in a file name broke the lines of `path<TAB>text`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from fixtures.command_line import keyframe
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.formats import escaped


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_an_escaped_name_is_one_field_and_can_be_read_back(name: str) -> None:
    field = escaped(name)
    assert "\t" not in field and len(f"-{field}-".splitlines()) == 1
    assert field.encode("latin-1", "backslashreplace").decode("unicode_escape") == name


@pytest.mark.skipif(os.name == "nt", reason="no such names on Windows")
def test_on_the_command_line(tmp_path: Path) -> None:
    model = save_random_model(tmp_path / "model")
    (tmp_path / "in").mkdir()
    names = ["a\tb.wav", "c\nd.wav", "e\\f.wav", "g h.wav"]
    for name in names:
        soundfile.write(tmp_path / "in" / name, noise(0.5), RATE)
    lines = keyframe("transcribe", model, "in", folder=tmp_path).stdout.splitlines()
    shown = [r"in/a\tb.wav", r"in/c\nd.wav", r"in/e\\f.wav", "in/g h.wav"]
    assert [line.split("\t")[0] for line in lines] == shown
    printed = keyframe("transcribe", model, "in", "--format", "jsonl", folder=tmp_path).stdout
    audio = [json.loads(line)["audio"] for line in printed.splitlines()]
    assert audio == [f"in/{name}" for name in names]
    done = keyframe("transcribe", model, "in", "--format", "jsonl", "--out", "out", folder=tmp_path)
    assert done.exit_code == 0
    files = [tmp_path / "out" / f"{name.removesuffix('.wav')}.jsonl" for name in names]
    assert "".join(file.read_text("utf-8") for file in files) == printed
