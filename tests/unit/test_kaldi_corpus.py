"""Kaldi data folders: as Kaldi means them, and one line for what cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse.kaldi import load_kaldi_data_dir

from fixtures.errors import refused
from keyframe_asr.data.corpora import kaldi
from keyframe_asr.data.corpora.listing import CorpusListing
from keyframe_asr.data.corpora.preparation import prepare_corpus
from keyframe_asr.data.corpora.preparation_options import PreparationOptions
from keyframe_asr.data.feature_store import read_samples
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


def described(listing: CorpusListing) -> dict[str, list[tuple[object, ...]]]:
    return {
        split: [(u.id, u.speaker, u.text, u.audio.name, u.start, u.end) for u in utterances]
        for split, utterances in listing.splits.items()
    }


def test_folders_are_listed(source: Path) -> None:
    listing = kaldi.read(source, "en")
    assert (listing.corpus, listing.language, listing.problems) == ("kaldi", "en", [])
    assert described(listing) == {
        "train": [
            ("call-a", "ann", "go  on", "call.wav", 0.5, 1.75),
            ("call-b", "bob", "stop\u2028now", "call.wav", 2.25, None),
        ],
        "test": [("u1", "", "yes", "1.wav", 0.0, None), ("u2", "", "no", "2.wav", 0.0, None)],
    }


def test_prepared_parts_are_what_lhotse_makes_of_the_folder(source: Path, tmp_path: Path) -> None:
    prepare_corpus(kaldi.read(source, "en"), tmp_path / "out", PreparationOptions("characters"))
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
    listing = kaldi.read(source, "zh", train="test", dev="train")
    assert [u.id for u in listing.splits["train"]] == ["u1", "u2"]
    assert [u.id for u in listing.splits["dev"]] == ["call-a", "call-b"]
    with refused(ManifestError, f"{source / 'nowhere'}: ", "--dev"):
        kaldi.read(source, "en", dev="nowhere")


def test_relative_paths(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "test" / "wav.scp").write_text("u1 my audio/1.wav\nu2 2.wav\n")
    assert [u.audio for u in kaldi.read(source, "en").splits["test"]] == [
        source / "my audio" / "1.wav",
        source / "2.wav",
    ]
    monkeypatch.chdir(source / "my audio")
    assert kaldi.read(source, "en").splits["test"][1].audio == Path("2.wav")


def test_what_does_not_fit_together_is_named(source: Path) -> None:
    (source / "train" / "text").write_text("call-b stop\nlost word\n")
    (source / "test" / "wav.scp").write_text("u1 a.wav\nu3 b.wav\n")
    (source / "train" / "segments").write_text("call-a call 0 1\ncall-b gone 1 2\n")
    problems = kaldi.read(source, "en").problems
    assert {problem.partition(": ")[0] for problem in problems} == {
        "call-a",
        "call-b",
        "lost",
        "u2",
        "u3",
    }
    (unlisted,) = (problem for problem in problems if problem.startswith("call-b: "))
    assert "'gone'" in unlisted and "wav.scp" in unlisted


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("sox a.wav -t wav - |", "command (sox a.wav -t wav - |)"),
        ("cat a.wav|", "command"),
        ("raw.ark:1234", "archive (raw.ark:1234)"),
    ],
)
def test_recordings_that_are_no_files(source: Path, place: str, expected: str) -> None:
    (source / "test" / "wav.scp").write_text(f"u1 {place}\n")
    with refused(ManifestError, f"{source / 'test' / 'wav.scp'}: ", "'u1'", expected, "wav-copy"):
        kaldi.read(source, "en")


@pytest.mark.parametrize("times", ["0.5", "0.5 x", "-1 2", "nan 2", "0 inf"])
def test_bad_segments(source: Path, times: str) -> None:
    (source / "train" / "segments").write_text(f"call-a call 0 1\ncall-b call {times}\n")
    with refused(ManifestError, f"{source / 'train' / 'segments'}:2: ", "'UTTERANCE"):
        kaldi.read(source, "en")


def test_bad_folders(source: Path, tmp_path: Path) -> None:
    with refused(ManifestError, f"{tmp_path / 'my audio'}: ", "train"):
        kaldi.read(tmp_path / "my audio", "english")
    texts = source / "test" / "text"
    texts.write_text("u1 yes\nu1 no\n")
    with refused(ManifestError, f"{texts}:2: ", "'u1'"):
        kaldi.read(source, "en")
    texts.write_bytes("u1 ж\n".encode("koi8-r"))
    with refused(ManifestError, f"{texts}:1: ", "UTF-8"):
        kaldi.read(source, "en")
    texts.unlink()
    with refused(ManifestError, f"{texts}: "):
        kaldi.read(source, "en")
