"""Once, the last of two columns `text` won silently, a table whose path was a folder ended in a
traceback, `T.CSV` was read as tab-separated, and a missing folder was said to hold no table."""

from __future__ import annotations

from pathlib import Path

import pytest

from fixtures.command_line import keyframe
from fixtures.corpus_trees import lines, recording
from fixtures.errors import refused
from keyframe_asr.data.corpora import commonvoice, kaldi, tables
from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.errors import ManifestError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    recording(tmp_path / "a.wav")
    return tmp_path / "T.CSV"


def test_a_column_that_occurs_twice_is_refused(table: Path) -> None:
    lines(table, "path,text,split,text", "a.wav,YES,train,NO")
    with refused(ManifestError, table, "text"):
        tables.read_table(table, "en")
    manifest = lines(
        table.with_name("a.tsv"),
        "utt_id\tspeaker\tduration_s\tpath\ttext\tsplit\tspeaker",
        "a\tann\t0.1\ta.wav\tYES\ttrain\tbob",
    )
    with refused(ManifestError, manifest, "speaker"):
        load_manifest(manifest)
    clips = lines(table.parent / "en" / "train.tsv", "client_id\tpath\tsentence\tpath")
    with refused(ManifestError, clips, "path"):
        commonvoice.read(table.parent)


def test_columns_without_a_name_may_be_several(table: Path) -> None:
    """Spreadsheets write them for empty columns."""
    lines(table, "path,text,split,,", "a.wav,YES,train,,")
    assert [one.text for one in tables.read_table(table, "en").splits["train"]] == ["YES"]


@pytest.mark.parametrize("path", [".", "..", "sub/..", "/"])
def test_a_path_that_names_a_folder_is_refused(path: str, table: Path) -> None:
    lines(table, "path,text,split", "a.wav,YES,train", f"{path},NO,train")
    with refused(ManifestError, f"{table}:3: ", f"'{path}'"):
        tables.read_table(table, "en")


def test_capital_letters_do_not_change_the_type(table: Path) -> None:
    lines(table, "path,text,split", 'a.wav,"YES, NO",train')
    listing = tables.read_table(table, "en")
    assert listing.corpus == "csv"
    assert [one.text for one in listing.splits["train"]] == ["YES, NO"]
    manifest = lines(
        table.with_name("M.TSV"),
        "utt_id\tspeaker\tduration_s\tpath\ttext\tsplit",
        "a\tann\t0.1\ta.wav\tYES\ttrain",
    )
    for name in (str(manifest), f"{manifest}:train"):
        assert [cut.id for cut in load_manifest(name)] == ["a"]


@pytest.mark.parametrize("corpus", ["tsv", "csv", "kaldi", "lhotse"])
def test_a_folder_that_is_not_there(corpus: str, tmp_path: Path) -> None:
    sources = [tmp_path / "gone", tmp_path / ("a" * 300)]
    if corpus in ("kaldi", "lhotse"):  # a table may have any name
        sources.append(lines(tmp_path / "file.ark", "x"))
    for source in sources:
        ran = keyframe("prepare", corpus, "--source", source, "--out", tmp_path / "out",
                       "--language", "en")  # fmt: skip
        assert ran.error.startswith(f"{source}: ")
        assert "train" not in ran.error


def test_names_too_long_for_a_file_are_missing_recordings(tmp_path: Path) -> None:
    lines(tmp_path / "train" / "text", "u1 YES", "u2 NO")
    lines(tmp_path / "train" / "wav.scp", "u1 a.wav", f"u2 {'a' * 300}.wav")
    listing = kaldi.read(tmp_path, "en")
    assert [one.id for one in listing.splits["train"]] == ["u1", "u2"]
