"""lhotse Shar: what is written, what is read, and training from it as from files."""

from __future__ import annotations

import pickle
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import soundfile
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.shar import SharWriter

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.tone_corpus import small_corpus, stage, tone_recipe, write_corpus
from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.model import FeaturesConfig
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.data import statistics
from keyframe_asr.data.corpora.summary import read_summary
from keyframe_asr.data.feature_store import FeatureStore, read_samples
from keyframe_asr.data.manifest import audio_path, load_manifest, make_cut, save_manifest, text
from keyframe_asr.data.shar import check_complete, is_shar
from keyframe_asr.data.shar_writing import write_shar
from keyframe_asr.data.sources import load_source
from keyframe_asr.data.statistics import STATISTICS_CUTS, measure_statistics
from keyframe_asr.errors import AudioError, ManifestError
from keyframe_asr.training.epoch_data import StageData
from keyframe_asr.training.run import train

RATE = 22_050


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_corpus(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def shar(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders train and dev, of three shards and one."""
    folder = tmp_path_factory.mktemp("shar")
    for split in ("train", "dev"):
        cuts = list(load_manifest(f"{table}:{split}"))
        assert write_shar(cuts, folder / split, shard_cuts=5) == {}
    return folder


@pytest.fixture
def memory(shar: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URI of the folders, in fsspec's file system in memory, with the arguments that S3's has."""
    system = fsspec.filesystem("memory")
    cat = type(system).cat_file

    def cat_file(
        self: object,
        path: str,
        version_id: str | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> bytes:
        assert version_id is None
        return bytes(cat(self, path, start=start, end=end))

    monkeypatch.setattr(type(system), "cat_file", cat_file)
    system.put(str(shar), "/bucket", recursive=True)
    yield "memory://bucket"
    system.rm("/bucket", recursive=True)


def noise(path: Path, channels: int = 1, subtype: str = "PCM_16") -> Path:
    samples = np.random.default_rng(1).normal(scale=0.3, size=(RATE, channels)).clip(-1, 1)
    soundfile.write(path, samples, RATE, subtype=subtype)
    return path


def cuts_of(folder: Path) -> list[Cut]:
    """A recording, parts of it, a named channel, the mean of channels, and finer samples."""
    mono, stereo = noise(folder / "mono.wav"), noise(folder / "stereo.wav", 2)
    fine = noise(folder / "fine.wav", subtype="FLOAT")
    return [
        make_cut("whole", "ann", "a b", mono, RATE, RATE),
        make_cut("folder/part", "ann", "a", mono, RATE, RATE, (1000, 9000)),
        make_cut("late.part", "", "", mono, RATE, RATE, (9000, RATE)),
        make_cut("right", "", "", stereo, RATE, RATE, channel=(1, 2)),
        make_cut("mean", "", "", stereo, RATE, RATE),
        make_cut("fine", "", "", fine, RATE, RATE),
    ]


def same_audio(found: Sequence[Cut], expected: Sequence[Cut], tolerance: float = 0.0) -> None:
    assert [cut.id for cut in found] == [cut.id for cut in expected]
    assert [cut.duration for cut in found] == [cut.duration for cut in expected]
    assert list(map(text, found)) == list(map(text, expected))
    for one, other in zip(found, expected, strict=True):
        atol = tolerance if one.id == "fine" else 0.0
        np.testing.assert_allclose(read_samples(one), read_samples(other), rtol=0, atol=atol)


def test_samples_are_kept(tmp_path: Path) -> None:
    cuts = cuts_of(tmp_path)
    cuts[0] = cuts[0].with_custom("kept", "as it is")
    assert write_shar(cuts, tmp_path / "shar", shard_cuts=4) == {}
    found = list(load_manifest(tmp_path / "shar"))
    same_audio(found, cuts, tolerance=2**-22)
    assert found[0].custom["kept"] == "as it is"
    assert found[0].supervisions == cuts[0].supervisions
    faster = [[cut.perturb_speed(1.1) for cut in one[:2]] for one in (found, cuts)]
    same_audio(*faster)
    again = tmp_path / "again"
    assert write_shar(found, again) == {}
    same_audio(list(load_manifest(again)), found)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # lhotse's
def test_lhotse_reads_what_is_written(tmp_path: Path) -> None:
    cuts = [cut for cut in cuts_of(tmp_path) if cut.id != "mean"]  # lhotse mixes no channels
    write_shar(cuts, tmp_path / "shar", shard_cuts=2)
    found = list(CutSet.from_shar(in_dir=tmp_path / "shar"))
    assert [cut.id for cut in found] == [cut.id for cut in cuts]
    for one, other in zip(found, cuts, strict=True):
        np.testing.assert_allclose(one.load_audio(), other.load_audio(), rtol=0, atol=2**-22)


def test_what_lhotse_writes_is_read(tmp_path: Path) -> None:
    cuts = [cut for cut in cuts_of(tmp_path) if cut.id not in ("mean", "fine")]
    (tmp_path / "shar").mkdir()
    with SharWriter(tmp_path / "shar", {"recording": "wav"}, shard_size=3) as writer:
        for cut in cuts:
            writer.write(cut)
    same_audio(list(load_manifest(tmp_path / "shar")), cuts, tolerance=1e-4)


def test_a_uri(memory: str, table: Path) -> None:
    found, files = load_manifest(f"{memory}/train/"), load_manifest(f"{table}:train")
    same_audio(list(found), list(files))
    assert load_source(f"{memory}/dev").line.startswith(f"{memory}/dev: cuts, 4 recordings")
    with refused(ManifestError, f"{memory}/none"):
        load_manifest(f"{memory}/none")
    with refused(ManifestError, "train-000.flac"):
        audio_path(found[0])


def test_the_missing_package_of_a_protocol_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    fsspec.config.conf.clear()
    with refused(ManifestError, "s3://bucket/train", "s3fs"):
        load_manifest("s3://bucket/train")


def recipe_of(train_from: str, dev: str, table: Path, **training: int) -> Recipe:
    stages = [stage("baseline"), stage("keyframes", fusion=True, keyframes=True)]
    recipe = tone_recipe(table, stages, accumulate=2, batch_seconds=3.0, **training)
    data = recipe.data.model_copy(update={"train": train_from, "dev": dev})
    return recipe.model_copy(update={"data": data})


def results(folder: Path) -> dict[str, bytes]:
    names = ("baseline", "keyframes")
    files = [*(folder / one / "averaged.safetensors" for one in names), folder / "cmvn.json"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_training_is_that_of_the_files_and_resumes(
    shar: Path, memory: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, local = tmp_path / "files", tmp_path / "local"
    train(recipe_of(f"{table}:train", f"{table}:dev", table), files, quiet=True)
    train(recipe_of(str(shar / "train"), str(shar / "dev"), table), local, quiet=True)
    assert results(local) == results(files)

    uris = f"{memory}/train", f"{memory}/dev"
    stored = recipe_of(*uris, table, save_every_updates=1)
    whole = StageData.updates

    def interrupted(self: StageData, epoch: int, done: int = 0) -> Iterator[object]:
        for number, update in enumerate(whole(self, epoch, done), start=done):
            if (epoch, number) == (1, 1):
                raise KeyboardInterrupt
            yield update

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StageData, "updates", interrupted)
        train(stored, tmp_path / "remote", quiet=True)
    train(stored, tmp_path / "remote", resume=True, quiet=True)
    assert results(tmp_path / "remote") == results(files)


def test_damage(shar: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(shar / "dev", tmp_path / "dev")
    archive = folder / "recording.000000.tar"
    archive.write_bytes(archive.read_bytes()[:40_000])
    first, *_, last = load_manifest(folder)
    assert read_samples(first).size
    with refused(AudioError, archive, "dev-003.flac"):
        read_samples(last)
    archive.unlink()
    with refused(AudioError, archive, "dev-000.flac"):
        read_samples(first)
    (folder / "recording.000001.tar").write_bytes(b"")
    with refused(ManifestError, folder):
        load_manifest(folder)
    (folder / "recording.000001.tar").rename(archive)
    (folder / "cuts.000000.jsonl.gz").write_bytes(b"no gzip")
    with refused(ManifestError, folder / "cuts.000000.jsonl.gz"):
        load_manifest(folder)
    save_manifest(load_manifest(shar / "dev"), tmp_path / "alone.jsonl.gz")
    same_audio(list(load_manifest(tmp_path / "alone.jsonl.gz")), list(load_manifest(shar / "dev")))
    with refused(ManifestError, shar / "dev" / "cuts.000000.jsonl.gz:1", "dev-000"):
        load_manifest(shar / "dev" / "cuts.000000.jsonl.gz")


@pytest.mark.parametrize("missing", ["000000", "000001", "000002"])
def test_a_shard_that_is_missing(missing: str, shar: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(shar / "train", tmp_path / "train")
    assert len(list(folder.iterdir())) == 2 * 3
    check_complete(str(folder))
    for path in folder.glob(f"*.{missing}.*"):
        path.unlink()
    with refused(ManifestError, folder, "2", "3"):
        load_manifest(folder)
    with refused(ManifestError, folder, "2", "3"):
        check_complete(str(folder))


def test_processes_write_the_same(table: Path, shar: Path, tmp_path: Path) -> None:
    cuts = list(load_manifest(f"{table}:train"))
    damaged = make_cut("none", "", "", tmp_path / "none.wav", RATE)
    told: list[tuple[int, int]] = []
    left_out = write_shar(
        [*cuts, damaged],
        tmp_path / "train",
        jobs=2,
        shard_cuts=5,
        progress=lambda *done: told.append(done),
    )
    assert list(left_out) == ["none"]
    assert told == [(5, 13), (10, 13), (13, 13)]
    for file in (shar / "train").iterdir():
        assert (tmp_path / "train" / file.name).read_bytes() == file.read_bytes()


def test_features_are_measured_by_processes_as_by_one(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def each(function: Any, items: Sequence[Cut], jobs: int, chunk: int) -> Iterator[Any]:
        assert (jobs, chunk < STATISTICS_CUTS) == (2, True)
        return map(pickle.loads(pickle.dumps(function)), pickle.loads(pickle.dumps(items)))

    cuts, store = (
        list(load_manifest(f"{table}:train")),
        FeatureStore(Fbank(FeaturesConfig()), False),
    )
    alone = measure_statistics(cuts, store, level=-20)
    monkeypatch.setattr(statistics, "each", each)
    assert measure_statistics(cuts, store, level=-20, jobs=2) == alone


def test_prepare_writes_shards(tmp_path: Path) -> None:
    texts = {"train": ["ABC", "CAB", "BEAD"] * 3, "dev": ["ACE", "BAD"]}
    table = write_corpus(tmp_path / "tones", texts)
    (tmp_path / "tones" / "train-004.wav").write_bytes(b"damaged")
    options = ["--source", table, "--language", "en", "--units", "characters"]
    options = ["tsv", *options, "--allow-incomplete", "--out"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert keyframe("prepare", *options, one).exit_code == 0
    ran = keyframe("prepare", *options, two, "--shar")
    assert ran.exit_code == 0, ran
    for name in ("cmvn.json", "problems.txt", "tokenizer.txt", "train.jsonl.gz"):
        assert (two / name).read_bytes() == (one / name).read_bytes(), name
    assert "train-004" in (two / "problems.txt").read_text(encoding="utf-8")
    for split, count in (("train", 8), ("dev", 2), ("test", 0)):
        assert is_shar(str(two / "shar" / split))
        if count:
            stored = load_manifest(two / "shar" / split)
            same_audio(list(stored), list(load_manifest(one / f"{split}.jsonl.gz")))
            assert len(stored) == count
    summary = read_summary(two)
    assert summary is not None
    assert summary.splits["train"].utterances == 8
    assert keyframe("check-data", two / "shar" / "train", two / "shar" / "dev").exit_code == 0
    shutil.rmtree(two / "shar" / "dev")
    assert str(two / "shar" / "dev") in keyframe("prepare", *options, two, "--shar").error
    assert keyframe("prepare", *options, two, "--shar", "--overwrite").exit_code == 0
    assert is_shar(str(two / "shar" / "dev"))
    assert keyframe("prepare", *options, two, "--overwrite").exit_code == 0
    assert not is_shar(str(two / "shar" / "train"))
