"""Kaldi data folders: as Kaldi means them, and one line for what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse.kaldi import load_kaldi_data_dir

from keyframe_asr.data.corpora import kaldi
from keyframe_asr.data.corpora.listing import CorpusListing
from keyframe_asr.data.corpora.preparation import PreparationOptions, prepare_corpus
from keyframe_asr.data.dataset import read_samples
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.errors import ManifestError
from keyframe_asr.timing import SAMPLE_RATE


def sound(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(len(str(path))).normal(size=round(seconds * SAMPLE_RATE))
    soundfile.write(path, samples, SAMPLE_RATE)
    return path


def data_folder(folder: Path, **files: str) -> Path:
    """A Kaldi data folder; `wav_scp` becomes wav.scp."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """`train` has segments of one recording, `test` whole recordings and no utt2spk."""
    call, one, two = (
        sound(tmp_path / "my audio" / f"{n}.wav", s) for n, s in (("call", 5.0), ("1", 1), ("2", 2))
    )
    data_folder(
        tmp_path / "train",
        wav_scp=f"call {call}\n",
        segments="call-a call 0.5 1.75\ncall-b call 2.25 -1\n",
        text="call-a go  on\ncall-b stop\u2028now\n",
        utt2spk="call-a ann\ncall-b bob\n",
    )
    data_folder(tmp_path / "test", wav_scp=f"u1 {one}\nu2\t{two}\n", text="u1 yes\n\nu2 no\n")
    return tmp_path


def message(source: Path, **names: str) -> str:
    with pytest.raises(ManifestError) as error:
        kaldi.read(source, "english", **names)
    line = str(error.value)
    assert "\n" not in line
    return line


def described(listing: CorpusListing) -> dict[str, list[tuple[object, ...]]]:
    return {
        split: [(u.id, u.speaker, u.text, u.audio.name, u.start, u.end) for u in utterances]
        for split, utterances in listing.splits.items()
    }


def test_folders_are_listed(source: Path) -> None:
    listing = kaldi.read(source, "english")
    assert (listing.corpus, listing.language, listing.problems) == ("kaldi", "english", [])
    assert described(listing) == {
        "train": [
            ("call-a", "ann", "go  on", "call.wav", 0.5, 1.75),
            ("call-b", "bob", "stop\u2028now", "call.wav", 2.25, None),
        ],
        "test": [("u1", "", "yes", "1.wav", 0.0, None), ("u2", "", "no", "2.wav", 0.0, None)],
    }


def test_prepared_parts_are_what_lhotse_makes_of_the_folder(source: Path, tmp_path: Path) -> None:
    prepare_corpus(
        kaldi.read(source, "english"), tmp_path / "out", PreparationOptions("characters")
    )
    cuts = list(load_manifest(tmp_path / "out" / "train.jsonl.gz"))
    recordings, supervisions, _ = load_kaldi_data_dir(source / "train", SAMPLE_RATE)
    assert supervisions is not None and len(cuts) == len(supervisions) == 2
    for cut, said in zip(cuts, supervisions, strict=True):
        assert (cut.id, cut.start, cut.duration) == (said.id, said.start, said.duration)
        expected = recordings[said.recording_id].load_audio(
            offset=said.start, duration=said.duration
        )
        assert np.array_equal(read_samples(cut), expected[0])
    assert [text(cut) for cut in cuts] == ["GO ON", "STOP NOW"]


def test_folders_of_other_names(source: Path) -> None:
    listing = kaldi.read(source, "mandarin", train="test", dev="train")
    assert [u.id for u in listing.splits["train"]] == ["u1", "u2"]
    assert [u.id for u in listing.splits["dev"]] == ["call-a", "call-b"]
    assert f"{source / 'nowhere'}: no such data folder; give --dev" in message(
        source, dev="nowhere"
    )


def test_relative_paths(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "test" / "wav.scp").write_text("u1 my audio/1.wav\nu2 2.wav\n")
    assert [u.audio for u in kaldi.read(source, "english").splits["test"]] == [
        source / "my audio" / "1.wav",
        source / "2.wav",
    ]
    monkeypatch.chdir(source / "my audio")
    assert kaldi.read(source, "english").splits["test"][1].audio == Path("2.wav")


def test_what_does_not_fit_together_is_named(source: Path) -> None:
    (source / "train" / "text").write_text("call-b stop\nlost word\n")
    (source / "test" / "wav.scp").write_text("u1 a.wav\nu3 b.wav\n")
    (source / "train" / "segments").write_text("call-a call 0 1\ncall-b gone 1 2\n")
    problems = kaldi.read(source, "english").problems
    assert {problem.partition(": ")[0] for problem in problems} == {
        "call-a",
        "call-b",
        "lost",
        "u2",
        "u3",
    }
    assert "call-b: recording 'gone' is not in wav.scp" in problems


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("sox a.wav -t wav - |", "is made by a command (sox a.wav -t wav - |)"),
        ("cat a.wav|", "is made by a command"),
        ("raw.ark:1234", "lies in an archive (raw.ark:1234)"),
    ],
)
def test_recordings_that_are_no_files(source: Path, place: str, expected: str) -> None:
    (source / "test" / "wav.scp").write_text(f"u1 {place}\n")
    line = message(source)
    assert line.startswith(f"{source / 'test' / 'wav.scp'}: recording 'u1' ")
    assert expected in line and "wav-copy" in line


@pytest.mark.parametrize("times", ["0.5", "0.5 x", "-1 2", "nan 2", "0 inf"])
def test_bad_segments(source: Path, times: str) -> None:
    (source / "train" / "segments").write_text(f"call-a call 0 1\ncall-b call {times}\n")
    assert f"{source / 'train' / 'segments'}:2: not 'UTTERANCE" in message(source)


def test_bad_folders(source: Path, tmp_path: Path) -> None:
    assert "holds no data folder; expected train" in message(tmp_path / "my audio")
    (source / "test" / "text").write_text("u1 yes\nu1 no\n")
    assert f"{source / 'test' / 'text'}:2: 'u1' occurs twice" in message(source)
    (source / "test" / "text").write_bytes("u1 ж\n".encode("koi8-r"))
    assert "cannot be read as UTF-8" in message(source)
    (source / "test" / "text").unlink()
    assert f"{source / 'test' / 'text'}: no such file" in message(source)
