"""Cuts to batches: reading and sampling."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet
from lhotse.cut import Cut

from fixtures.errors import refused
from fixtures.tone_corpus import LETTERS, MEL_BINS, random_texts, small_corpus, tones, write_corpus
from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.model import FeaturesConfig
from keyframe_asr.data.dataset import (
    Batch,
    BatchLoader,
    SpeechDataset,
    evaluation_sampler,
    training_sampler,
)
from keyframe_asr.data.feature_store import FeatureStore, read_samples
from keyframe_asr.data.manifest import load_manifest, make_cut
from keyframe_asr.errors import AudioError, FormatError, ManifestError
from keyframe_asr.text.tokenizer import CharacterTokenizer
from keyframe_asr.timing import SAMPLE_RATE

TOKENIZER = CharacterTokenizer(LETTERS)


def store(keep: bool = False) -> FeatureStore:
    return FeatureStore(Fbank(FeaturesConfig(num_mel_bins=MEL_BINS)), keep)


def cut_of(path: Path, seconds: float, text: str = "AB", name: str = "one") -> Cut:
    return make_cut(name, "nobody", text, path, round(seconds * SAMPLE_RATE))


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> CutSet:
    table = small_corpus(tmp_path_factory.mktemp("corpus"))
    return load_manifest(f"{table}:train")


def test_batch_holds_every_utterance_padded(cuts: CutSet) -> None:
    features = store()
    batch = SpeechDataset(features, TOKENIZER).collate(cuts)
    longest = int(batch.feature_lengths.max())
    assert batch.features.shape == (len(cuts), longest, MEL_BINS)
    assert batch.audio_seconds == pytest.approx(sum(cut.duration for cut in cuts))
    for row, cut in enumerate(cuts):
        assert batch.ids[row] == cut.id
        frames, tokens = int(batch.feature_lengths[row]), int(batch.token_lengths[row])
        assert frames == round(cut.duration * 100)
        assert torch.equal(batch.features[row, :frames], features(cut))
        assert not batch.features[row, frames:].any()
        said = cut.supervisions[0].text
        assert batch.tokens[row, :tokens].tolist() == TOKENIZER.encode(said)
        assert not batch.tokens[row, tokens:].any()


def test_samples_are_those_of_the_file(cuts: CutSet) -> None:
    cut = next(iter(cuts))
    written, _ = soundfile.read(cut.recording.sources[0].source, dtype="float32")
    assert np.array_equal(read_samples(cut), written)


def test_stereo_at_8_khz_is_read_as_recognition_reads_it(tmp_path: Path) -> None:
    left = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000) * 0.5
    soundfile.write(tmp_path / "a.wav", np.stack((left, -left), 1), 8000)
    samples = read_samples(cut_of(tmp_path / "a.wav", 1.0))
    assert samples.shape == (SAMPLE_RATE,)
    assert np.abs(samples).max() < 1e-3, "the channels cancel, so they are averaged"


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speed_changes_length_and_pitch(tmp_path: Path, speed: float) -> None:
    seconds, pitch = 1.0, 1000.0
    wave = 0.5 * np.sin(2 * np.pi * pitch * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    soundfile.write(tmp_path / "a.wav", wave, SAMPLE_RATE)
    cut = cut_of(tmp_path / "a.wav", 1.0).perturb_speed(speed)
    samples = read_samples(cut)
    assert samples.size / SAMPLE_RATE == pytest.approx(seconds / speed, abs=1e-3)
    assert cut.duration == pytest.approx(seconds / speed, abs=1e-3)
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() / samples.size * SAMPLE_RATE == pytest.approx(pitch * speed, abs=2)


def noise_at(folder: Path, rate: int, seconds: float = 3.0, name: str = "noise.wav") -> Path:
    """Noise that gets louder, so that every place in it is told from every other."""
    generator = np.random.default_rng(3)
    samples = generator.normal(size=round(seconds * rate)) * np.linspace(
        0.01, 0.2, round(seconds * rate)
    )
    soundfile.write(folder / name, samples, rate)
    return folder / name


def part_of(path: Path, rate: int, start: float, end: float, seconds: float = 3.0) -> Cut:
    place = (round(start * rate), round(end * rate))
    return make_cut("part", "nobody", "AB", path, round(seconds * rate), rate, place)


@pytest.mark.parametrize("name", ["noise.wav", "noise.flac", "noise.ogg", "noise.mp3"])
def test_a_part_is_that_part_of_the_file(tmp_path: Path, name: str) -> None:
    path = noise_at(tmp_path, SAMPLE_RATE, name=name)
    whole = read_samples(cut_of(path, 3.0))
    for start, end in ((0.0, 0.5), (0.7, 1.3), (2.5, 3.0)):
        found = read_samples(part_of(path, SAMPLE_RATE, start, end))
        expected = whole[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("speeds", [(), (0.9,), (1.1,), (0.9, 1.1)])
@pytest.mark.parametrize("start", [0.0, 0.7, 1.8])
def test_a_part_is_what_lhotse_reads_of_it(
    tmp_path: Path, speeds: tuple[float, ...], start: float
) -> None:
    cut = part_of(noise_at(tmp_path, SAMPLE_RATE), SAMPLE_RATE, start, start + 1.1)
    for speed in speeds:
        cut = cut.perturb_speed(speed)
    found, expected = read_samples(cut), cut.load_audio()[0]
    assert abs(found.size - expected.size) <= 2
    size = min(found.size, expected.size)
    np.testing.assert_allclose(found[:size], expected[:size], atol=1e-6)
    assert found.size / SAMPLE_RATE == pytest.approx(1.1 / np.prod(speeds), abs=1e-3)
    assert cut.duration == pytest.approx(found.size / SAMPLE_RATE, abs=1e-3)


@pytest.mark.parametrize("speed", [1.0, 0.9, 1.1])
def test_a_part_at_another_rate(tmp_path: Path, speed: float) -> None:
    """It lies where the same part of the whole lies, to a fraction of a sample of its file."""
    path = noise_at(tmp_path, 8000)
    cut, whole = part_of(path, 8000, 0.7, 1.8), make_cut("all", "", "", path, 24000, 8000)
    if speed != 1.0:
        cut, whole = cut.perturb_speed(speed), whole.perturb_speed(speed)
    found = read_samples(cut)
    first = round(0.7 / speed * SAMPLE_RATE)
    expected = read_samples(whole)[first : first + found.size]
    assert found.size == pytest.approx(1.1 / speed * SAMPLE_RATE, abs=3)
    # Two samples beside it, noise would have nothing in common with itself.
    assert np.corrcoef(found[400:-400], expected[400:-400])[0, 1] > 0.9


def test_a_part_beyond_the_end_of_its_file(tmp_path: Path) -> None:
    path = noise_at(tmp_path, SAMPLE_RATE, 1.0)
    with refused(ManifestError, f"{path}: ", "'part'", "0.30 s"):
        read_samples(part_of(path, SAMPLE_RATE, 0.7, 1.9))
    with refused(ManifestError, f"{path}: ", "'part'", "0.00 s"):
        read_samples(part_of(path, SAMPLE_RATE, 1.5, 1.9))


def test_kept_features_of_two_parts_stay_apart(tmp_path: Path) -> None:
    """Two manifests may use one name for two parts of one recording."""
    kept, path = store(keep=True), noise_at(tmp_path, SAMPLE_RATE)
    one, two = (part_of(path, SAMPLE_RATE, start, start + 0.5) for start in (0.2, 1.9))
    assert one.id == two.id
    for cut in (one, two, one):
        assert torch.equal(kept(cut), store()(cut))
    assert not torch.equal(kept(one), kept(two))


def test_recording_without_a_sample(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), SAMPLE_RATE)
    cut = cut_of(tmp_path / "a.wav", 0.0, "")
    for one in (cut, cut.perturb_speed(0.9)):
        assert read_samples(one).shape == (0,)
    batch = SpeechDataset(store(), TOKENIZER).collate(CutSet.from_cuts([cut]))
    assert batch.features.shape == (1, 0, MEL_BINS)
    assert batch.tokens.shape == (1, 0)
    assert batch.tokens.dtype == torch.long


def test_transforms_of_a_manifest_are_applied(tmp_path: Path) -> None:
    samples = tones("A") / 2
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    cut = cut_of(tmp_path / "a.wav", samples.size / SAMPLE_RATE).perturb_volume(2.0)
    stored = type(cut).from_dict(cut.to_dict())  # as a manifest brings it
    np.testing.assert_allclose(read_samples(stored), 2 * samples, atol=1e-6)


def bad_corpus(folder: Path) -> Path:
    """One good recording, one that is text, one that is missing."""
    table = write_corpus(folder, {"train": ["AB", "BA", "CA"]})
    (folder / "train-001.wav").write_text("this is no audio")
    return table


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_recording_is_one_line_that_names_it(tmp_path: Path, workers: int) -> None:
    loaded = load_manifest(f"{bad_corpus(tmp_path)}:train")
    sampler = evaluation_sampler(loaded, 100.0)
    with refused(FormatError, "train-001.wav: "):
        list(BatchLoader(SpeechDataset(store(), TOKENIZER), workers).load(sampler))


def test_missing_recording_is_named(tmp_path: Path) -> None:
    with refused(AudioError, f"{tmp_path / 'gone.wav'}: "):
        store()(cut_of(tmp_path / "gone.wav", 1.0))


@pytest.mark.parametrize("claimed", [0.5, 3.0])
def test_length_that_the_manifest_gets_wrong(tmp_path: Path, claimed: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    with refused(ManifestError, f"{tmp_path / 'a.wav'}: ", "'one'", "1.00 s"):
        store()(cut_of(tmp_path / "a.wav", claimed))


def test_same_names_in_two_manifests_stay_apart(tmp_path: Path) -> None:
    """Features kept in memory belong to a recording, not to a name."""
    kept = store(keep=True)
    found = []
    for folder, text in (("one", "A"), ("two", "F")):
        table = write_corpus(tmp_path / folder, {"train": [text]})
        cut = next(iter(load_manifest(f"{table}:train")))
        assert torch.equal(kept(cut), store()(cut))
        found.append(kept(cut))
    assert not torch.equal(*found)


def test_kept_features_follow_the_speed(cuts: CutSet) -> None:
    kept = store(keep=True)
    cut = next(iter(cuts))
    lengths = [
        kept(one).shape[0] for one in (cut, cut.perturb_speed(0.9), cut, cut.perturb_speed(1.1))
    ]
    assert lengths[0] == lengths[2]
    assert lengths[1] > lengths[0] > lengths[3]


def test_kept_samples_are_those_of_the_cut(cuts: CutSet) -> None:
    kept = store(keep=True)
    first, other = list(cuts)[:2]
    for cut in (first, other, first.perturb_speed(1.1), first):
        for _ in range(2):
            assert np.array_equal(kept.samples(cut), read_samples(cut))
    assert kept.samples(first) is kept.samples(first)
    assert torch.equal(kept.of_samples(kept.samples(first)), kept(first))
    assert store().samples(first) is not store().samples(first)


def epoch_of(cuts: CutSet, seed: int, epoch: int, seconds: float = 9.0) -> list[list[str]]:
    return [[cut.id for cut in one] for one in training_sampler(cuts, seconds, seed, epoch)]


def unread_cuts(count: int) -> CutSet:
    """Of many lengths, 0 among them; sampling opens no file."""
    lengths = np.random.default_rng(1).uniform(0, 4, size=count)
    lengths[::50] = 0
    return CutSet.from_cuts(
        cut_of(Path("none.wav"), seconds, name=f"{number:03d}")
        for number, seconds in enumerate(lengths)
    )


@pytest.mark.parametrize("count", [2, 12, 99, 100, 350])
def test_epochs_hold_every_cut_once_in_another_order(count: int) -> None:
    several = unread_cuts(count)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = epoch_of(several, 1, 0)
    assert sorted(name for batch in first for name in batch) == sorted(several.ids)
    assert first == epoch_of(several, 1, 0)
    if count > 2:
        assert first != epoch_of(several, 1, 1)
        assert first != epoch_of(several, 2, 0)


@pytest.mark.parametrize("count", [12, 350])
def test_batches_are_no_longer_than_asked(count: int) -> None:
    several = unread_cuts(count)
    durations = {cut.id: cut.duration for cut in several}
    for batch in epoch_of(several, 1, 0):
        assert sum(durations[name] for name in batch) <= 9.0


def test_batches_hold_similar_lengths() -> None:
    several = unread_cuts(400)
    durations = {cut.id: cut.duration for cut in several}
    spans = [
        max(durations[name] for name in batch) - min(durations[name] for name in batch)
        for batch in epoch_of(several, 1, 0)
    ]
    assert np.mean(spans) < 2.0, "of lengths between 0 and 4 seconds"


def test_corpus_of_one_utterance(cuts: CutSet) -> None:
    one = cuts.subset(first=1)
    assert epoch_of(one, 1, 0) == [[next(iter(one)).id]]


def test_dev_order_is_by_length(cuts: CutSet) -> None:
    durations = {cut.id: cut.duration for cut in cuts}
    order = [cut.id for one in evaluation_sampler(cuts, 3.0) for cut in one]
    assert sorted(order) == sorted(durations)
    assert [durations[name] for name in order] == sorted(durations.values(), reverse=True)


def test_workers_give_the_same_batches(cuts: CutSet) -> None:
    def loaded(workers: int) -> list[Batch]:
        sampler = training_sampler(cuts, 3.0, 1, 0)
        return list(BatchLoader(SpeechDataset(store(), TOKENIZER), workers).load(sampler))

    for here, there in zip(loaded(0), loaded(1), strict=True):
        assert here.ids == there.ids
        assert torch.equal(here.features, there.features)


def test_batch_of_many_cuts_keeps_their_order(tmp_path: Path) -> None:
    texts = random_texts(30, 9, 2)
    loaded = load_manifest(write_corpus(tmp_path, {"train": texts}))
    batch = SpeechDataset(store(), TOKENIZER).collate(loaded)
    assert [
        TOKENIZER.decode(row[:size].tolist())
        for row, size in zip(batch.tokens, batch.token_lengths, strict=True)
    ] == texts
