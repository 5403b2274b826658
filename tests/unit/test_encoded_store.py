"""Stored outputs of a frozen encoder: computed once, never stale, whole or not there."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet
from lhotse.cut import Cut

from fixtures.errors import names, refused
from fixtures.tiny_pretrained import WHISPER, pretrained_config, random_encoder
from fixtures.tone_corpus import small_corpus, tones
from keyframe_asr.audio.features import FrontEnd, front_end
from keyframe_asr.config.model import FeaturesConfig
from keyframe_asr.data.augment import at_speed
from keyframe_asr.data.encoded_store import EncodedStore
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import audio_path, load_manifest
from keyframe_asr.errors import AudioError, ManifestError
from keyframe_asr.model.pretrained import PretrainedEncoder


@pytest.fixture
def cuts(tmp_path: Path) -> CutSet:
    return load_manifest(f"{small_corpus(tmp_path / 'corpus')}:train")


def raw_front_end() -> FrontEnd:
    return front_end(FeaturesConfig(), pretrained_config(WHISPER))


def raw_features() -> FeatureStore:
    return FeatureStore(raw_front_end(), keep=False)


def store(folder: Path, encoder: PretrainedEncoder | None = None) -> EncodedStore:
    return EncodedStore(raw_features(), encoder or random_encoder(WHISPER), folder)


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def quietly(message: str) -> None:
    """Nobody listens."""


@torch.inference_mode()
def computed(encoder: PretrainedEncoder, cut: Cut) -> torch.Tensor:
    features = raw_features()(cut)
    return encoder(features[None], torch.tensor([len(features)]))[0][0]


def test_it_gives_what_the_encoder_gives_in_batches_or_one_by_one(
    cuts: CutSet, tmp_path: Path
) -> None:
    encoder = random_encoder(WHISPER, layers=[1, 3])
    batched, single = store(tmp_path / "a", encoder), store(tmp_path / "b", encoder)
    batched.prepare(cuts, quietly)
    assert batched.width == 32 and batched.pre_encoded
    for cut in cuts:
        expected = computed(encoder, cut)
        assert batched(cut).dtype == torch.float32
        torch.testing.assert_close(batched(cut), expected, atol=1e-3, rtol=2e-3)
        torch.testing.assert_close(single(cut), expected, atol=1e-3, rtol=2e-3)


def test_everything_is_computed_once(cuts: CutSet, tmp_path: Path) -> None:
    said: list[str] = []
    first = store(tmp_path / "kept")
    first.prepare(cuts, said.append)
    assert names(said[0], len(cuts)) and names(said[-1], "100%")
    before = files(tmp_path / "kept")
    assert len(before) == len(cuts)
    again: list[str] = []
    second = store(tmp_path / "kept")
    second.prepare(cuts, again.append)
    for cut in cuts:
        second(cut)
    assert again == [] and files(tmp_path / "kept") == before


def test_its_size_is_told_beforehand(cuts: CutSet, tmp_path: Path) -> None:
    kept = store(tmp_path / "kept")
    promised = kept.size(cuts)
    kept.prepare(cuts, quietly)
    outputs = sum(kept(cut).numel() * 2 for cut in cuts)
    assert outputs <= promised <= outputs + 3 * 32 * len(cuts)


def test_each_speed_is_a_copy_of_its_own(cuts: CutSet, tmp_path: Path) -> None:
    cut = next(iter(cuts))
    kept = store(tmp_path / "kept")
    slow, same = kept(at_speed(cut, 0.8)), kept(cut)
    assert len(slow) > len(same)
    assert len(files(tmp_path / "kept")) == 2
    kept(at_speed(cut, 0.8))
    assert len(files(tmp_path / "kept")) == 2


def test_parts_of_a_recording_are_told_apart(cuts: CutSet, tmp_path: Path) -> None:
    cut = next(iter(cuts))
    half = cut.duration / 2
    parts = [cut, cut.truncate(duration=half), cut.truncate(offset=half)]
    assert len(store(tmp_path / "kept").missing([*parts, *parts])) == 3


def test_a_part_is_encoded_alone_at_any_speed(cuts: CutSet, tmp_path: Path) -> None:
    """As if it were a recording of its own."""
    cut = max(cuts, key=lambda one: one.duration)
    part = cut.truncate(offset=0.25, duration=0.5)
    samples = FeatureStore(raw_front_end(), keep=False).samples(cut)[4000:12_000]
    kept, encoder = store(tmp_path / "kept"), random_encoder(WHISPER)
    kept.prepare([part, at_speed(part, 0.8)], quietly)
    alone = torch.from_numpy(raw_front_end()(samples))
    with torch.inference_mode():
        expected = encoder(alone[None], torch.tensor([len(alone)]))[0][0]
    torch.testing.assert_close(kept(part), expected, atol=1e-3, rtol=2e-3)
    assert len(kept(at_speed(part, 0.8))) == pytest.approx(len(expected) / 0.8, abs=1)


def test_changed_samples_are_encoded_and_not_stored(cuts: CutSet, tmp_path: Path) -> None:
    cut = next(iter(cuts))
    kept, encoder = store(tmp_path / "kept"), random_encoder(WHISPER)
    found = kept.of_samples(kept.samples(cut))
    torch.testing.assert_close(found, computed(encoder, cut), atol=1e-5, rtol=1e-5)
    assert not found.requires_grad and files(tmp_path / "kept") == {}


def test_other_weights_layers_or_audio_are_never_mixed_up(cuts: CutSet, tmp_path: Path) -> None:
    cut = next(iter(cuts))
    kept = tmp_path / "kept"
    original = store(kept)(cut)
    changed = random_encoder(WHISPER)
    next(iter(changed.encoder_layers())).fc1.bias.data[0] += 0.5
    assert not torch.equal(store(kept, changed)(cut), original)
    assert not torch.equal(store(kept, random_encoder(WHISPER, layers=[2]))(cut), original)
    soundfile.write(audio_path(cut), tones("FFFFF")[: round(cut.duration * 16_000)], 16_000)
    assert not torch.equal(store(kept)(cut), original)
    assert len(files(kept)) == 4


def test_a_recording_is_known_by_its_content_not_its_place(cuts: CutSet, tmp_path: Path) -> None:
    kept = store(tmp_path / "kept")
    kept.prepare(cuts, quietly)
    shutil.copytree(tmp_path / "corpus", tmp_path / "moved")
    assert kept.missing(load_manifest(f"{tmp_path / 'moved' / 'corpus.tsv'}:train")) == []


def test_what_an_interruption_leaves_is_computed_again(cuts: CutSet, tmp_path: Path) -> None:
    kept = store(tmp_path / "kept")
    kept.prepare(cuts, quietly)
    damaged, cut_off, *_ = sorted(files(tmp_path / "kept"))
    damaged.write_bytes(b"")
    cut_off.write_bytes(cut_off.read_bytes()[:-8])
    encoder = random_encoder(WHISPER)
    for cut in cuts:
        torch.testing.assert_close(kept(cut), computed(encoder, cut), atol=1e-3, rtol=2e-3)


def test_two_processes_may_fill_one_folder(cuts: CutSet, tmp_path: Path) -> None:
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            try:
                store(tmp_path / "kept").prepare(cuts, quietly)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    kept = store(tmp_path / "kept")
    assert kept.missing(cuts) == []
    assert len(files(tmp_path / "kept")) == len(cuts)
    encoder = random_encoder(WHISPER)
    for cut in cuts:
        torch.testing.assert_close(kept(cut), computed(encoder, cut), atol=1e-3, rtol=2e-3)


def test_a_full_disk_is_told_before_the_work(
    cuts: CutSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with refused(ManifestError, "training.encodings"):
        store(tmp_path / "kept").prepare(cuts, quietly)
    assert files(tmp_path / "kept") == {}


def test_a_missing_recording_is_named(cuts: CutSet, tmp_path: Path) -> None:
    missing = audio_path(next(iter(cuts)))
    missing.unlink()
    with refused(AudioError, missing.name):
        store(tmp_path / "kept").prepare(cuts, quietly)


def test_numbers_that_are_not_finite_are_not_stored(cuts: CutSet, tmp_path: Path) -> None:
    encoder = random_encoder(WHISPER)
    next(encoder.parameters()).data.fill_(float("nan"))
    with refused(AudioError):
        store(tmp_path / "kept", encoder).prepare(cuts, quietly)
    assert files(tmp_path / "kept") == {}


def test_an_utterance_too_short_for_any_output_has_none(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(100, "f4"), 16_000)
    table = tmp_path / "short.tsv"
    header = "utt_id\tspeaker\tduration_s\tpath\ttext\tsplit\n"
    table.write_text(header + "short\tnobody\t0.006\tshort.wav\tA\ttrain\n")
    cuts = load_manifest(table)
    kept = store(tmp_path / "kept")
    kept.prepare(cuts, quietly)
    assert kept(next(iter(cuts))).shape == (0, 16)
