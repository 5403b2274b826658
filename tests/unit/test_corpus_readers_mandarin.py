"""AISHELL-2 and THCHS-30 in their own layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from fixtures.corpus_trees import counts, lines, names, recording
from fixtures.errors import refused
from keyframe_asr.data.corpora import aishell2, thchs30
from keyframe_asr.data.corpora.listing import PartSize
from keyframe_asr.errors import ManifestError


def aishell2_set(folder: Path, prefix: str, count: int) -> Path:
    """A set with `count` recordings of half a second, two a speaker."""
    rows, texts = [], []
    for number in range(count):
        speaker, name = f"{prefix}{number // 2:04d}", f"I{prefix}{number // 2:04d}W{number:04d}"
        recording(folder / "wav" / speaker / f"{name}.wav", seconds=0.5)
        rows.append(f"{name}\twav/{speaker}/{name}.wav")
        texts.append(f"{name}\t打开 wifi {number}")
    lines(folder / "wav.scp", *rows)
    lines(folder / "trans.txt", *texts)
    return folder


@pytest.fixture
def aishell2_source(tmp_path: Path) -> Path:
    aishell2_set(tmp_path / "AISHELL-2/iOS/data", "C", 20)
    aishell2_set(tmp_path / "AISHELL-DEV-TEST-SET/iOS/dev", "D", 4)
    aishell2_set(tmp_path / "AISHELL-DEV-TEST-SET/iOS/test", "T", 6)
    aishell2_set(tmp_path / "AISHELL-DEV-TEST-SET/Android/test", "A", 2)
    return tmp_path


def test_aishell2_takes_the_ios_channel(aishell2_source: Path) -> None:
    listing = aishell2.read(aishell2_source)
    assert (listing.corpus, listing.language) == ("aishell2", "zh")
    assert counts(listing) == {"train": 20, "dev": 4, "test": 6}
    assert (listing.notes, listing.problems) == ([], [])
    one = listing.splits["test"][3]
    assert (one.id, one.speaker, one.text) == ("IT0001W0003", "T0001", "打开 wifi 3")
    assert soundfile.info(one.audio).duration == 0.5


def test_aishell2_with_all_sets_under_one_folder(tmp_path: Path) -> None:
    for name, count in (("data", 2), ("dev", 2), ("test", 2)):
        aishell2_set(tmp_path / "AISHELL-2/iOS" / name, "C", count)
    for source in (tmp_path, tmp_path / "AISHELL-2", tmp_path / "AISHELL-2/iOS"):
        assert counts(aishell2.read(source)) == {"train": 2, "dev": 2, "test": 2}


def test_aishell2_names_what_is_unusable(aishell2_source: Path) -> None:
    folder = aishell2_source / "AISHELL-2/iOS/data"
    (folder / "wav/C0000/IC0000W0001.wav").unlink()
    texts = (folder / "trans.txt").read_text("utf-8").splitlines()
    lines(folder / "trans.txt", *texts[:4], *texts[5:])
    listing = aishell2.read(aishell2_source)
    assert counts(listing)["train"] == 18
    assert listing.problems == ["IC0000W0001: no recording", "IC0002W0004: no transcript"]


def test_aishell2_without_dev_and_test(tmp_path: Path) -> None:
    aishell2_set(tmp_path / "AISHELL-2/iOS/data", "C", 2)
    with refused(ManifestError, "wav.scp", "trans.txt", "dev, test"):
        aishell2.read(tmp_path)
    listing = aishell2.read(tmp_path, allow_incomplete=True)
    assert counts(listing) == {"train": 2, "dev": 0, "test": 0}
    assert listing.notes == ["dev: missing", "test: missing"]
    (tmp_path / "AISHELL-2/iOS/data/trans.txt").unlink()
    with refused(ManifestError, "train, dev, test"):
        aishell2.read(tmp_path, allow_incomplete=True)


def test_aishell2_draws_hours(aishell2_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    four_seconds = 4 / 3600
    listing = aishell2.read(aishell2_source, hours=four_seconds)
    assert counts(listing) == {"train": 8, "dev": 4, "test": 6}
    drawn = names(listing, "train")
    assert drawn == sorted(drawn)
    assert names(aishell2.read(aishell2_source, hours=four_seconds), "train") == drawn
    assert names(aishell2.read(aishell2_source, hours=four_seconds, seed=2), "train") != drawn
    assert set(names(aishell2.read(aishell2_source, hours=2 / 3600), "train")) < set(drawn)
    assert listing.notes == ["train: 8 utterances, 0.00111111 hours, drawn with seed 1"]

    with refused(ManifestError, "0.00 hours", 1):
        aishell2.read(aishell2_source, hours=1)
    for hours in (0.0, -1.0, float("nan")):
        with refused(ManifestError, str(hours), 0):
            aishell2.read(aishell2_source, hours=hours)

    broken = aishell2_source / "AISHELL-2/iOS/data/wav/C0000/IC0000W0000.wav"
    broken.write_bytes(b"no audio")
    listing = aishell2.read(aishell2_source, hours=9.5 / 3600)
    assert counts(listing)["train"] == 19
    assert len(listing.problems) == 1
    assert listing.problems[0].startswith("IC0000W0000: ")

    monkeypatch.setattr(soundfile, "info", None)
    assert counts(aishell2.read(aishell2_source))["train"] == 20


THCHS30 = {"train": ("A11_0", "A11_1", "B2_3"), "dev": ("A11_9",), "test": ("D4_750", "D4_751")}


@pytest.fixture
def thchs30_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sizes = {split: PartSize(len(content)) for split, content in THCHS30.items()}
    monkeypatch.setattr(thchs30, "EXPECTED", sizes)
    root = tmp_path / "data_thchs30"
    for split, content in THCHS30.items():
        for name in content:
            transcript = f"{name}.wav.trn"
            lines(root / "data" / transcript, "绿 是 l = 阳春 烟 景 ", "lv4 shi4", "l v4 sh ix4")
            lines(root / split / transcript, f"../data/{transcript}")
            recording(root / "data" / f"{name}.wav")
            recording(root / split / f"{name}.wav")
    return tmp_path


@pytest.mark.parametrize("inner", ["", "data_thchs30"])
def test_thchs30_follows_transcripts(thchs30_source: Path, inner: str) -> None:
    listing = thchs30.read(thchs30_source / inner)
    assert (listing.corpus, listing.language) == ("thchs30", "zh")
    assert {split: tuple(names(listing, split)) for split in THCHS30} == THCHS30
    one = listing.splits["train"][2]
    assert (one.speaker, one.text) == ("B2", "绿 是 阳春 烟 景")
    assert one.audio == thchs30_source / "data_thchs30/train/B2_3.wav"
    assert (listing.notes, listing.problems) == ([], [])


def test_thchs30_with_links_and_without_them(thchs30_source: Path) -> None:
    whole = thchs30.read(thchs30_source)
    train = thchs30_source / "data_thchs30/train"
    transcript = train / "A11_0.wav.trn"
    transcript.unlink()
    transcript.symlink_to("../data/A11_0.wav.trn")
    (train / "A11_1.wav.trn").unlink()
    assert thchs30.read(thchs30_source) == whole
    (train / "A11_1.wav").unlink()
    (train / "A11_1.wav").symlink_to("../elsewhere/A11_1.wav")
    listing = thchs30.read(thchs30_source)
    assert listing.splits["train"][1].audio.is_file()


def test_thchs30_incomplete(thchs30_source: Path) -> None:
    root = thchs30_source / "data_thchs30"
    for folder in ("data", "test"):
        (root / folder / "D4_750.wav").unlink()
        (root / folder / "D4_751.wav.trn").unlink()
    with refused(ManifestError, "0 of 2 utterances"):
        thchs30.read(thchs30_source)
    listing = thchs30.read(thchs30_source, allow_incomplete=True)
    assert counts(listing) == {"train": 3, "dev": 1, "test": 0}
    assert listing.problems == ["D4_750: no recording", "D4_751: no transcript"]
    with refused(ManifestError, "THCHS-30"):
        thchs30.read(thchs30_source / "data_thchs30/data")
