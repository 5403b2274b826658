"""Once, `keyframe prepare` into the folder of another corpus replaced it silently, with exit code 0
and even while it was read; recordings of an old synthetic corpus stayed there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.command_line import keyframe
from fixtures.corpus_trees import lines, recording
from keyframe_asr.data.corpora.summary import read_summary


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    recording(tmp_path / "a.wav")
    rows = [f"{n}\ta.wav\tHELLO\tx{n % 2}\ttrain" for n in range(3)]
    return lines(tmp_path / "t.tsv", "utt_id\tpath\ttext\tspeaker\tsplit", *rows)


def arguments(table: Path, language: str, units: str = "characters") -> list[str | Path]:
    out = table.parent / "out"
    return ["prepare", "tsv", "--source", table, "--language", language, "--units", units,
            "--out", out]  # fmt: skip


@pytest.mark.parametrize("other", [("de",), ("en", "bpe")])
def test_another_corpus_is_refused_without_overwrite(other: list[str], table: Path) -> None:
    out = table.parent / "out"
    assert keyframe(*arguments(table, "en")).exit_code == 0
    before = content(out)
    line = keyframe(*arguments(table, *other)).error
    assert line.startswith(f"{out}: ") and "--overwrite" in line and "--out" in line
    assert all(named in line for named in ("tsv", " en,", " 3 "))
    assert content(out) == before
    assert keyframe(*arguments(table, "en")).exit_code == 0, "the same corpus is no other"
    assert content(out) == before


def test_overwrite_replaces_it(table: Path) -> None:
    assert keyframe(*arguments(table, "en")).exit_code == 0
    assert keyframe(*arguments(table, "de"), "--overwrite").exit_code == 0
    summary = read_summary(table.parent / "out")
    assert summary and summary.language == "de"


def test_an_incomplete_folder_is_restarted(table: Path) -> None:
    assert keyframe(*arguments(table, "en")).exit_code == 0
    (table.parent / "out" / "summary.json").unlink()
    assert keyframe(*arguments(table, "de")).exit_code == 0


def test_no_speech_of_a_replaced_synthetic_corpus_remains(table: Path) -> None:
    texts = lines(table.with_name("s.txt"), "One bird", "A bird in the hand", "Two birds")
    out = table.parent / "out"
    spoken = ["prepare", "synthetic", "--language", "en", "--source", texts, "--out", out,
              "--units", "characters"]  # fmt: skip
    assert keyframe(*spoken).exit_code == 0
    own = recording(out / "audio" / "own.wav")
    lines(texts, "One bird", "Two")
    assert "--overwrite" in keyframe(*spoken).error
    assert keyframe(*spoken, "--overwrite").exit_code == 0
    assert len(list((out / "audio").rglob("*.flac"))) == 2
    assert keyframe(*arguments(table, "en"), "--overwrite").exit_code == 0
    assert not list((out / "audio").rglob("*.flac"))
    assert own.exists() and (table.parent / "a.wav").exists()
