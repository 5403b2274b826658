"""Where a corpus named a channel of a recording, the mean of all channels was read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.random_model import RATE, noise, save_random_model
from keyframe_asr.audio.features import Fbank
from keyframe_asr.audio.reading import Samples, read_audio, read_length
from keyframe_asr.config.model import FeaturesConfig
from keyframe_asr.data.checks.utterance import audio_facts
from keyframe_asr.data.corpora import kaldi, tables
from keyframe_asr.data.corpora.listed_cut import cut_of
from keyframe_asr.data.corpora.listing import CorpusListing, ListedUtterance
from keyframe_asr.data.feature_store import FeatureStore, read_samples
from keyframe_asr.data.manifest import load_manifest, save_manifest
from keyframe_asr.errors import AudioError, ManifestError, OptionError
from keyframe_asr.evaluation.scoring import read_batches
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.recognizer import load

LEFT, RIGHT = noise(1.5, 1), noise(1.5, 2)


@pytest.fixture
def stereo(tmp_path: Path) -> Path:
    path = tmp_path / "call.wav"
    soundfile.write(path, np.stack((LEFT, RIGHT), axis=1), RATE, subtype="FLOAT")
    return path


def heard(utterance: ListedUtterance) -> Samples:
    cut = cut_of(utterance, read_length(utterance.audio))
    assert isinstance(cut, MonoCut), cut
    return read_samples(cut)


def kaldi_folder(folder: Path, **files: str) -> CorpusListing:
    folder.mkdir()
    for name, content in files.items():
        name = {"wav": "wav.scp"}.get(name, name)
        (folder / name).write_text(content)
    return kaldi.read(folder.parent, "english", test=folder.name)


def test_the_fifth_column_of_kaldi_segments(tmp_path: Path, stereo: Path) -> None:
    listing = kaldi_folder(
        tmp_path / "test",
        wav=f"call {stereo}\n",
        text="a A\nb A\nc A\n",
        segments="a call 0.25 1.0 0\nb call 0.25 -1 1\nc call 0.25 1.0\n",
    )
    a, b, c = listing.splits["test"]
    np.testing.assert_array_equal(heard(a), LEFT[4000:16_000])
    np.testing.assert_array_equal(heard(b), RIGHT[4000:])
    np.testing.assert_allclose(heard(c), (LEFT + RIGHT)[4000:16_000] / 2, atol=1e-6)


@pytest.mark.parametrize("names", ["AB", "12"])
def test_sides_of_a_call_in_kaldi(tmp_path: Path, stereo: Path, names: str) -> None:
    soundfile.write(tmp_path / "apart.wav", RIGHT, RATE, subtype="FLOAT")
    listing = kaldi_folder(
        tmp_path / "test",
        wav=f"call-A {stereo}\ncall-B {stereo}\nother-B {tmp_path}/apart.wav\n",
        text="call-A A\ncall-B A\nother-B A\n",
        reco2file_and_channel=f"call-A call {names[0]}\ncall-B call {names[1]}\n"
        f"other-B other {names[1]}\n",
    )
    a, b, other = listing.splits["test"]
    np.testing.assert_array_equal(heard(a), LEFT)
    np.testing.assert_array_equal(heard(b), RIGHT)
    np.testing.assert_array_equal(heard(other), RIGHT)


@pytest.mark.parametrize("channel", ["x", "-2", "0 0"])
def test_no_channel_in_kaldi_segments(tmp_path: Path, stereo: Path, channel: str) -> None:
    with refused(ManifestError, f"{tmp_path}/test/segments:1: "):
        kaldi_folder(
            tmp_path / "test",
            wav=f"call {stereo}\n",
            text="a A\n",
            segments=f"a call 0 1 {channel}\n",
        )


def lhotse_cuts(path: Path, stereo: Path) -> Path:
    recording = Recording.from_file(stereo)
    cuts = [
        MonoCut(
            id=f"u{channel}",
            start=0.0,
            duration=recording.duration,
            channel=channel,
            recording=recording,
            supervisions=[SupervisionSegment(f"u{channel}", recording.id, 0.0, 1.5, text="A")],
        )
        for channel in (0, 1)
    ]
    CutSet.from_cuts(cuts).to_file(path)
    return path


def test_lhotse_cuts(tmp_path: Path, stereo: Path) -> None:
    path = lhotse_cuts(tmp_path / "test.jsonl.gz", stereo)
    whole = list(load_manifest(path))
    parts = [cut.truncate(offset=0.5, duration=0.5) for cut in whole]
    for cuts, place in ((whole, slice(None)), (parts, slice(8000, 16_000))):
        save_manifest(cuts, tmp_path / "saved.jsonl")
        read = {
            one.cut.id: one.samples
            for batch in read_batches("", list(load_manifest(tmp_path / "saved.jsonl")), [])
            for one in batch
        }
        np.testing.assert_array_equal(read[cuts[0].id], LEFT[place])
        np.testing.assert_array_equal(read[cuts[1].id], RIGHT[place])
    listed = tables.read_cuts(tmp_path, "english").splits["test"]
    assert [one.channel for one in listed] == [0, 1]


def test_features_of_two_channels_are_kept_apart(tmp_path: Path, stereo: Path) -> None:
    store = FeatureStore(Fbank(FeaturesConfig()), keep=True)
    first, second = load_manifest(lhotse_cuts(tmp_path / "cuts.jsonl.gz", stereo))
    other = second.with_id(first.id)
    assert not np.allclose(store(first), store(other))
    np.testing.assert_array_equal(store.samples(other), RIGHT)


def test_tables(tmp_path: Path, stereo: Path) -> None:
    rows = [f"u{channel}\t\t1.5\t{stereo}\tA\ttest\t{channel}" for channel in ("0", "1", "")]
    header = "utt_id\tspeaker\tduration_s\tpath\ttext\tsplit\tchannel"
    (tmp_path / "test.tsv").write_text("\n".join((header, *rows)) + "\n")
    mean = (LEFT + RIGHT) / 2
    for found, expected in zip(
        load_manifest(tmp_path / "test.tsv"), (LEFT, RIGHT, mean), strict=True
    ):
        np.testing.assert_allclose(read_samples(found), expected, atol=1e-6)
    listed = tables.read_table(tmp_path, "english").splits["test"]
    for utterance, expected in zip(listed, (LEFT, RIGHT, mean), strict=True):
        np.testing.assert_allclose(heard(utterance), expected, atol=1e-6)


def test_only_a_mean_is_reported_by_the_checks(tmp_path: Path, stereo: Path) -> None:
    named = next(iter(load_manifest(lhotse_cuts(tmp_path / "cuts.jsonl.gz", stereo))))
    unnamed = cut_of(ListedUtterance("u", "", "A", stereo), read_length(stereo))
    assert [audio_facts(cut).averaged for cut in (named, unnamed)] == [False, True]


def test_a_channel_that_is_not_there(tmp_path: Path, stereo: Path) -> None:
    with refused(AudioError, f"{stereo}: ", 2):
        read_audio(stereo, channel=2)
    reason = cut_of(ListedUtterance("u", "", "A", stereo, channel=3), read_length(stereo))
    assert isinstance(reason, str) and str(stereo) in reason
    with pytest.raises(OptionError):
        RecognitionOptions(channel=-1)


def test_transcribe_one_channel(tmp_path: Path, stereo: Path) -> None:
    model = save_random_model(tmp_path / "model")
    recognizer = load(str(model))
    for channel, samples in enumerate((LEFT, RIGHT)):
        expected = recognizer.transcribe(samples, RecognitionOptions(decode="ctc")).text
        arguments = ("--channel", channel, "--decode", "ctc", "--format", "json")
        result = keyframe("transcribe", model, stereo, *arguments)
        assert json.loads(result.stdout)["text"] == expected
    result = keyframe("transcribe", model, stereo, "--channel", 2)
    assert (result.exit_code, result.stdout) == (1, "") and str(stereo) in result.stderr
    assert keyframe("transcribe", model, stereo, "--channel", -1).exit_code == 2


def test_align_and_inspect_one_channel(tmp_path: Path, stereo: Path) -> None:
    model = save_random_model(tmp_path / "model")
    soundfile.write(tmp_path / "right.wav", RIGHT, RATE, subtype="FLOAT")
    found = keyframe("align", model, stereo, "AB", "--channel", 1)
    apart = keyframe("align", model, tmp_path / "right.wav", "AB")
    times = [json.loads(result.stdout)["tokens"] for result in (found, apart)]
    assert times[0] == times[1]
    page = tmp_path / "a.html"
    for channel, code in ((1, 0), (2, 1)):
        assert (
            keyframe("inspect", model, stereo, "--channel", channel, "--out", page).exit_code
            == code
        )
