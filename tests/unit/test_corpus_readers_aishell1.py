"""AISHELL-1: splits by folder, packed speakers, and copies that are not whole."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import soundfile

from fixtures.corpus_trees import counts, lines, names, pack, recording
from fixtures.errors import refused
from keyframe_asr.data.corpora import aishell1, download
from keyframe_asr.data.corpora.listing import PartSize
from keyframe_asr.errors import ManifestError

SPEAKERS = {"S0002": "train", "S0003": "train", "S0724": "dev", "S0764": "test"}
TEXTS = {
    f"BAC009{speaker}W{number:04d}": f"而 对 楼市 成交 {number}"
    for speaker in SPEAKERS
    for number in (122, 123)
}


@pytest.fixture(autouse=True)
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"train": PartSize(4, 2), "dev": PartSize(2, 1), "test": PartSize(2, 1)}
    monkeypatch.setattr(aishell1, "EXPECTED", sizes)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "data_aishell"
    transcript = [f"{name} {text}" for name, text in TEXTS.items()]
    lines(root / "transcript/aishell_transcript_v0.8.txt", *transcript)
    for name in TEXTS:
        speaker = name[6:11]
        recording(root / "wav" / SPEAKERS[speaker] / speaker / f"{name}.wav")
    return tmp_path


def wav(source: Path) -> Path:
    return source / "data_aishell" / "wav"


def pack_speakers(source: Path, *speakers: str) -> None:
    for speaker in speakers:
        folder = f"{SPEAKERS[speaker]}/{speaker}"
        pack(wav(source) / f"{speaker}.tar.gz", wav(source), folder)
        shutil.rmtree(wav(source) / folder)


def test_counts_are_those_published() -> None:
    """The module's own table, which the other tests replace."""
    text = Path(str(aishell1.__file__)).read_text(encoding="utf-8")
    for number in ("120_098, 340", "14_326, 40", "7_176, 20"):
        assert number in text
    assert 120_098 + 14_326 + 7_176 == 141_600


@pytest.mark.parametrize("inner", ["", "data_aishell"])
def test_splits_come_from_the_folders(source: Path, inner: str) -> None:
    listing = aishell1.read(source / inner)
    assert (listing.corpus, listing.language) == ("aishell1", "zh")
    assert counts(listing) == {"train": 4, "dev": 2, "test": 2}
    assert names(listing, "train") == sorted(name for name in TEXTS if name[6:11] < "S0700")
    one = listing.splits["dev"][0]
    assert (one.id, one.speaker, one.text) == ("BAC009S0724W0122", "S0724", TEXTS[one.id])
    assert one.audio.is_absolute()
    assert soundfile.info(one.audio).frames == 1600
    assert (one.start, one.end) == (0.0, None)
    assert listing.notes == []
    assert listing.problems == []


def test_no_audio_is_opened(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in wav(source).rglob("*.wav"):
        path.write_bytes(b"")
    monkeypatch.setattr(soundfile, "info", None)
    assert counts(aishell1.read(source)) == {"train": 4, "dev": 2, "test": 2}


def test_recordings_without_transcript_are_counted(source: Path) -> None:
    recording(wav(source) / "train/S0002/BAC009S0002W0999.wav")
    recording(wav(source) / "train/S0002/._BAC009S0002W0122.wav")
    listing = aishell1.read(source)
    assert counts(listing)["train"] == 4
    (note,) = listing.notes
    assert note.endswith(" 1")
    assert listing.problems == []


def test_packed_speakers_are_unpacked_once(source: Path) -> None:
    whole = aishell1.read(source)
    pack_speakers(source, *SPEAKERS)
    assert aishell1.read(source) == whole
    unpacked = {path: path.stat().st_ino for path in wav(source).rglob("*.wav")}
    assert aishell1.read(source) == whole
    assert {path: path.stat().st_ino for path in wav(source).rglob("*.wav")} == unpacked
    assert not list(wav(source).glob(".*"))


def test_a_speaker_half_unpacked_by_others_is_completed(source: Path) -> None:
    whole = aishell1.read(source)
    folder = wav(source) / "train/S0002"
    pack(wav(source) / "S0002.tar.gz", wav(source), "train/S0002")
    (folder / "BAC009S0002W0123.wav").unlink()
    (folder / "BAC009S0002W0122.wav").write_bytes(b"half")
    assert aishell1.read(source) == whole
    assert soundfile.info(folder / "BAC009S0002W0122.wav").frames == 1600


def test_an_interruption_leaves_no_speaker_half_there(source: Path) -> None:
    whole = aishell1.read(source)
    pack_speakers(source, *SPEAKERS)
    if not (child := os.fork()):
        _read_and_be_killed(source)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert (wav(source) / "train/S0002").is_dir()
    assert not (wav(source) / "train/S0003").exists()
    assert list(wav(source).glob(".*"))
    assert aishell1.read(source) == whole
    assert not list(wav(source).glob(".*"))


def _read_and_be_killed(source: Path) -> None:
    """Killed when the speaker S0003 is unpacked, but not yet in its place."""
    really = download._move_into

    def move(packed: Path, target: Path) -> None:
        if (packed / "train/S0003").is_dir():
            os.kill(os.getpid(), signal.SIGKILL)
        really(packed, target)

    download._move_into = move
    try:
        aishell1.read(source)
    finally:
        os._exit(1)


def test_a_damaged_archive_is_named(source: Path) -> None:
    pack_speakers(source, "S0003")
    archive = wav(source) / "S0003.tar.gz"
    archive.write_bytes(archive.read_bytes()[:200])
    with refused(ManifestError, f"{archive}: "):
        aishell1.read(source)
    assert not (wav(source) / "train/S0003").exists()
    assert not list(wav(source).glob(".*"))


def test_incomplete_copies_are_refused_with_what_is_missing(source: Path) -> None:
    shutil.rmtree(wav(source) / "train/S0002")
    (wav(source) / "dev/S0724/BAC009S0724W0123.wav").unlink()
    train, dev = "2 of 4 utterances and 1 of 2 speakers", "1 of 2 utterances;"
    with refused(ManifestError, train, dev, "S0002", "S0724 (1)", "--allow-incomplete"):
        aishell1.read(source)

    listing = aishell1.read(source, allow_incomplete=True)
    assert counts(listing) == {"train": 2, "dev": 1, "test": 2}
    assert listing.problems == ["BAC009S0724W0123: no recording"]
    assert len(listing.notes) == 1
    assert listing.notes[0].startswith("incomplete copy: train has 2 of 4")


def test_a_cut_off_transcript_is_told_from_missing_recordings(source: Path) -> None:
    transcript = source / "data_aishell/transcript/aishell_transcript_v0.8.txt"
    transcript.write_text("".join(transcript.read_text("utf-8").splitlines(True)[:3]), "utf-8")
    with refused(ManifestError, 5):
        aishell1.read(source)
    transcript.unlink()
    with refused(ManifestError, f"{transcript}: "):
        aishell1.read(source, allow_incomplete=True)


def test_an_empty_transcript_is_a_problem(source: Path) -> None:
    transcript = source / "data_aishell/transcript/aishell_transcript_v0.8.txt"
    entries = transcript.read_text("utf-8").splitlines()
    lines(transcript, entries[0].split()[0], *entries[1:])
    assert aishell1.read(source, allow_incomplete=True).problems == [
        "BAC009S0002W0122: no transcript"
    ]


def test_conflicting_transcripts_are_refused(source: Path) -> None:
    transcript = source / "data_aishell/transcript/aishell_transcript_v0.8.txt"
    entries = transcript.read_text("utf-8").splitlines()
    lines(transcript, *entries, entries[0])
    aishell1.read(source)
    lines(transcript, *entries, "BAC009S0002W0122 别 的")
    with refused(ManifestError, f"{transcript}:9: ", "'BAC009S0002W0122'"):
        aishell1.read(source)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with refused(ManifestError, f"{tmp_path}: ", "AISHELL-1"):
        aishell1.read(tmp_path)
    with refused(ManifestError, f"{tmp_path / 'nowhere'}: "):
        aishell1.read(tmp_path / "nowhere")
