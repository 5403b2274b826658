"""Corpora in a folder with `manifest.tsv`, among them the real ones."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from fixtures.corpus_trees import counts, lines, recording
from fixtures.errors import refused
from keyframe_asr.data.corpora import aishell_sample, audio_cmn, speechocean762
from keyframe_asr.data.corpora.manifest_folder import read_manifest_folder
from keyframe_asr.errors import ManifestError

HEADER = "utt_id\tspeaker\tduration_s\tpath\ttext\tsplit"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [HEADER]
    for split in ("train", "dev", "test", "train"):
        name = f"{split}{len(rows)}"
        recording(tmp_path / "audio" / f"{name}.flac")
        rows.append(f"{name}\tS1\t0.100\taudio/{name}.flac\t打开 灯\t{split}")
    lines(tmp_path / "manifest.tsv", *rows)
    return tmp_path


def test_rows_go_to_their_splits(folder: Path) -> None:
    listing = read_manifest_folder(folder, "some", "mandarin")
    assert (listing.corpus, listing.language) == ("some", "mandarin")
    assert [one.id for one in listing.splits["train"]] == ["train1", "train4"]
    assert counts(listing) == {"train": 2, "dev": 1, "test": 1}
    one = listing.splits["dev"][0]
    assert (one.speaker, one.text) == ("S1", "打开 灯")
    assert one.audio == folder / "audio/dev2.flac"
    assert (listing.notes, listing.problems) == ([], [])


def test_unusable_rows_are_named(folder: Path) -> None:
    table = folder / "manifest.tsv"
    content = table.read_text("utf-8").splitlines()
    (folder / "audio/dev2.flac").unlink()
    content[3] = content[3].replace("打开 灯", " ")
    lines(table, *content, "x\tS1\t1\tx.flac\tx\textra")
    listing = read_manifest_folder(folder, "some", "mandarin")
    assert listing.problems == ["dev2: no recording", "test3: no transcript"]
    assert counts(listing) == {"train": 2, "dev": 0, "test": 0}
    assert listing.notes == ["rows of split 'extra', left out: 1"]


def test_bad_tables_are_refused(folder: Path) -> None:
    table = folder / "manifest.tsv"
    content = table.read_text("utf-8").splitlines()
    lines(table, *content, content[1].replace("\ttrain", "\ttest"))
    with refused(ManifestError, table, "'train1'"):
        read_manifest_folder(folder, "some", "mandarin")
    table.unlink()
    with refused(ManifestError, f"{table}: ", "some"):
        read_manifest_folder(folder, "some", "mandarin")


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("module", "language"),
    [(aishell_sample, "mandarin"), (audio_cmn, "mandarin"), (speechocean762, "english")],
    ids=["aishell_sample", "audio_cmn", "speechocean762"],
)
def test_real_corpora(module: ModuleType, language: str, corpus_root: Path) -> None:
    name = module.__name__.rpartition(".")[2]
    source = corpus_root / name
    if not source.is_dir():
        pytest.skip(f"no {name} in {source}")
    with (source / "manifest.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    listing = module.read(source)
    assert (listing.corpus, listing.language) == (name, language)
    assert counts(listing) == dict(Counter(row["split"] for row in rows))
    assert listing.problems == []
    texts = {one.id: one.text for split in listing.splits.values() for one in split}
    assert texts == {row["utt_id"]: row["text"] for row in rows}
    speakers = {split: {one.speaker for one in rows} for split, rows in listing.splits.items()}
    if module is speechocean762:
        # The same speakers as are taken from the corpus in its own layout.
        training = sorted(speakers["train"] | speakers["dev"])
        assert speakers["dev"] == set(training[:: speechocean762.DEV_EVERY])
        assert not speakers["test"] & set(training)
