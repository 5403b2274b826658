"""Augmentation: what it does to samples and features, and what its draws follow from."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet

from fixtures.errors import refused
from fixtures.tone_corpus import LETTERS, MEL_BINS, small_corpus, tones
from keyframe_asr.audio.features import Fbank
from keyframe_asr.audio.noise import excerpt, find_recordings, mix
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.audio.rooms import reverberate, simulate_room
from keyframe_asr.config.augment import AugmentConfig
from keyframe_asr.config.model import FeaturesConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.data.augment import (
    Augmentation,
    Draws,
    FeatureMasking,
    WaveformAugmentation,
    is_non_speech,
    perturb_speeds,
    read_excerpt,
)
from keyframe_asr.data.dataset import Batch, BatchLoader, SpeechDataset, training_sampler
from keyframe_asr.data.feature_store import FeatureStore, read_samples
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.errors import FormatError, RecipeError
from keyframe_asr.text.tokenizer import CharacterTokenizer
from keyframe_asr.timing import SAMPLE_RATE

DRAWS = Draws(seed=3, stage=0, epoch=0)
SPEECH = tones("ABCD")


def config_of(**parts: Any) -> AugmentConfig:
    return parse_config(AugmentConfig, parts, "augment")


def store(keep: bool = False) -> FeatureStore:
    return FeatureStore(Fbank(FeaturesConfig(num_mel_bins=MEL_BINS)), keep)


def power(samples: Samples) -> float:
    return float(np.mean(samples.astype(np.float64) ** 2))


def decibels(ratio: float) -> float:
    return float(10 * np.log10(ratio))


@pytest.fixture(scope="module")
def cuts(tmp_path_factory: pytest.TempPathFactory) -> CutSet:
    return load_manifest(f"{small_corpus(tmp_path_factory.mktemp('corpus'))}:train")


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of several rates, lengths and formats, next to what is no recording."""
    folder = tmp_path_factory.mktemp("noise")
    (folder / "deep").mkdir()
    draw = np.random.default_rng(1)
    soundfile.write(folder / "b.wav", 0.1 * draw.normal(size=3000), SAMPLE_RATE)
    soundfile.write(folder / "a.ogg", 0.1 * draw.normal(size=44_100), 44_100)
    soundfile.write(folder / "deep" / "c.FLAC", 0.1 * draw.normal(size=(80_000, 2)), 8000)
    (folder / "README.md").write_text("who recorded them")
    (folder / ".d.wav").write_text("what another program left behind")
    return folder


# Noise.


def test_recordings_are_found_in_order_with_those_below(noises: Path) -> None:
    found = [path.relative_to(noises).as_posix() for path in find_recordings(noises, "key")]
    assert found == ["a.ogg", "b.wav", "deep/c.FLAC"]


def test_ratio_of_mixed_noise_is_the_one_asked_for() -> None:
    draw = np.random.default_rng(7)
    for _ in range(100):
        size = int(draw.integers(100, 50_000))
        speech = (draw.uniform(1e-4, 1) * draw.normal(size=size)).astype(np.float32)
        noise = (draw.uniform(1e-4, 1) * draw.normal(size=size)).astype(np.float32)
        wanted = draw.uniform(-20, 40)
        found = mix(speech, noise, wanted)
        assert found.dtype == np.float32
        added = found.astype(np.float64) - speech
        assert decibels(power(speech) / power(added)) == pytest.approx(wanted, abs=0.1)


def test_silence_on_either_side_stays_finite() -> None:
    silence = np.zeros_like(SPEECH)
    assert np.array_equal(mix(SPEECH, silence, 0.0), SPEECH)
    assert np.array_equal(mix(silence, SPEECH, 10.0), SPEECH), "as loud as it was recorded"
    assert np.array_equal(mix(silence, silence, 10.0), silence)
    nothing = np.zeros(0, dtype=np.float32)
    assert mix(nothing, nothing, 10.0).shape == (0,)


@pytest.mark.parametrize("length", [0, 1, 5, 10, 30])
def test_excerpts_are_as_long_as_asked_and_of_any_place(length: int) -> None:
    recording = np.arange(1, length + 1, dtype=np.float32)
    starts = set()
    for seed in range(200):
        found = excerpt(recording, 10, np.random.default_rng(seed))
        assert found.shape == (10,)
        assert found.dtype == np.float32
        if length:
            starts.add(int(found[0]))
            expected = (found[0] - 1 + np.arange(10)) % length + 1
            assert np.array_equal(found, expected), "in order, and round and round if it is short"
    places = 0 if length == 0 else max(1, length - 9 if length >= 10 else length)
    assert len(starts) == places


def test_noise_is_added_to_as_many_as_asked(noises: Path) -> None:
    config = config_of(noise={"folder": str(noises), "probability": 0.3, "snr_db": [0, 10]})
    augment = WaveformAugmentation(config, 1)
    ratios = []
    for seed in range(300):
        added = augment(SPEECH, np.random.default_rng(seed)).astype(np.float64) - SPEECH
        if power(added):
            ratios.append(decibels(power(SPEECH) / power(added)))
    assert 60 < len(ratios) < 120
    assert -0.1 < min(ratios) < 1
    assert 9 < max(ratios) < 10.1


def test_broken_noise_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("this is no audio")
    config = config_of(noise={"folder": str(tmp_path), "probability": 1.0})
    augment = WaveformAugmentation(config, 1)
    with refused(FormatError, "a.wav: "):
        augment(SPEECH, np.random.default_rng(1))


# Rooms.


@pytest.mark.parametrize("decay", [0.1, 0.3, 0.6])
def test_rooms_begin_with_the_direct_path_and_decay_as_asked(decay: float) -> None:
    for seed in range(10):
        response = simulate_room(decay, np.random.default_rng(seed))
        assert np.isfinite(response).all()
        assert response[0] == 1.0
        assert response.size == pytest.approx(decay * SAMPLE_RATE, abs=2)
        left = np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1]
        level = 10 * np.log10(left / left[0])
        fall = np.argmax(level < -25) - np.argmax(level < -5)
        assert 0.7 * decay < 3 * fall / SAMPLE_RATE < 1.6 * decay


def test_reverberation_keeps_length_power_and_time() -> None:
    click = np.zeros(SAMPLE_RATE, dtype=np.float32)
    click[4000] = 0.5
    for seed in range(20):
        response = simulate_room(0.5, np.random.default_rng(seed))
        for dry in (click, SPEECH):
            wet = reverberate(dry, response)
            assert wet.shape == dry.shape
            assert wet.dtype == np.float32
            assert np.isfinite(wet).all()
            assert power(wet) == pytest.approx(power(dry), rel=1e-3)
        heard = reverberate(click, response)
        assert np.abs(heard[:4000]).max() < 1e-6, "nothing is heard before it is said"
        assert heard[4000] > 0.05, "and the direct path is not delayed"


def test_reverberation_of_silence_and_of_nothing() -> None:
    response = simulate_room(0.3, np.random.default_rng(1))
    for size in (0, 1, 1000):
        silence = np.zeros(size, dtype=np.float32)
        assert np.array_equal(reverberate(silence, response), silence)


def test_rooms_differ_and_follow_from_the_seed() -> None:
    config = config_of(reverberation={"probability": 1.0, "rooms": 3})
    first, again, other = (WaveformAugmentation(config, seed) for seed in (1, 1, 2))

    def heard(augment: WaveformAugmentation) -> list[Samples]:
        return [augment(SPEECH, np.random.default_rng(seed)) for seed in range(30)]

    assert all(map(np.array_equal, heard(first), heard(again)))
    assert not any(map(np.array_equal, heard(first), heard(other)))
    assert len({one.tobytes() for one in heard(first)}) == 3, "as many as there are rooms"


# Telephone lines.


def test_telephone_speech_is_what_the_line_passes() -> None:
    always = WaveformAugmentation(config_of(telephone={"probability": 1.0}), 1)
    assert always.enabled
    noise = np.random.default_rng(3).normal(size=32_000).astype(np.float32)
    heard = always(noise, np.random.default_rng(1))
    assert heard.shape == noise.shape and heard.dtype == np.float32
    spectrum = np.abs(np.fft.rfft(heard)) ** 2
    hertz = np.fft.rfftfreq(noise.size, 1 / 16_000)
    passed = (hertz > 400) & (hertz < 3200)
    assert spectrum[passed].mean() > 300 * spectrum[(hertz < 150) | (hertz > 4200)].mean()
    never = WaveformAugmentation(config_of(telephone={"probability": 0.0}), 1)
    assert never(noise, np.random.default_rng(1)) is noise


# Volume.


def test_volume_is_exactly_the_gain() -> None:
    louder = WaveformAugmentation(config_of(volume={"probability": 1.0, "gain_db": [6, 6]}), 1)
    found = louder(SPEECH, np.random.default_rng(1))
    np.testing.assert_allclose(found, SPEECH * 10 ** (6 / 20), rtol=1e-6)
    assert np.abs(louder(2 * SPEECH, np.random.default_rng(1))).max() > 1.0, "nothing is clipped"
    varied = WaveformAugmentation(config_of(volume={"probability": 1.0, "gain_db": [-12, 6]}), 1)
    gains = [
        decibels(power(varied(SPEECH, np.random.default_rng(seed))) / power(SPEECH))
        for seed in range(100)
    ]
    assert -12.01 < min(gains) < -11
    assert 5 < max(gains) < 6.01


# Examples without speech.


def test_noise_without_text_has_its_share_of_the_epoch(cuts: CutSet, noises: Path) -> None:
    config = config_of(
        non_speech={"folder": str(noises), "share": 0.4, "seconds": [0.5, 2.0]}, speeds=[1.0]
    )
    augmentation = Augmentation(config, 3)
    epoch = augmentation.cuts(cuts, DRAWS)
    added = [cut for cut in epoch if is_non_speech(cut)]
    assert len(added) / len(epoch) == pytest.approx(0.4)
    assert [cut.id for cut in epoch if not is_non_speech(cut)] == list(cuts.ids)
    assert {text(cut) for cut in added} == {""}
    assert {audio_path(cut) for cut in added} <= set(find_recordings(noises, "key"))
    for cut in added:
        assert 0.5 <= cut.duration <= 2.0
        samples = read_excerpt(cut, DRAWS)
        assert samples.size == round(cut.duration * SAMPLE_RATE)
        assert power(samples) > 0
        features = augmentation.features(cut, store(), DRAWS)
        assert features.shape == (round(cut.duration * 100), MEL_BINS)
    other = augmentation.cuts(cuts, Draws(3, 0, 1))
    assert [cut.duration for cut in other] != [cut.duration for cut in epoch]


# What the draws follow from.


def everything(noises: Path) -> AugmentConfig:
    return config_of(
        noise={"folder": str(noises)},
        reverberation={"rooms": 2},
        volume={},
        non_speech={"folder": str(noises), "share": 0.2, "seconds": [0.5, 1.5]},
        time_mask_frames=10,
        frequency_mask_bins=3,
    )


def epoch_of(cuts: CutSet, config: AugmentConfig, draws: Draws, **how: Any) -> dict[str, bytes]:
    """The features of each utterance, by its name."""
    augmentation = Augmentation(config, draws.seed)
    features = how.get("features", store())
    dataset = SpeechDataset(
        features,
        CharacterTokenizer(LETTERS),
        lambda cut, store, _: augmentation.features(cut, store, draws),
    )
    seconds = how.get("seconds", 4.0)
    sampler = training_sampler(augmentation.cuts(cuts, draws), seconds, how.get("order", 1), 0)
    loaded: list[Batch] = list(BatchLoader(dataset, how.get("workers", 0)).load(sampler))
    return {
        name: batch.features[row, : batch.feature_lengths[row]].numpy().tobytes()
        for batch in loaded
        for row, name in enumerate(batch.ids)
    }


def test_epoch_is_the_same_however_it_is_loaded(cuts: CutSet, noises: Path) -> None:
    config = everything(noises)
    found = epoch_of(cuts, config, DRAWS)
    assert len(found) == 15
    assert epoch_of(cuts, config, DRAWS, workers=2) == found
    assert epoch_of(cuts, config, DRAWS, seconds=2.0, order=9) == found, "other batches and order"
    kept = store(keep=True)
    for _ in range(2):
        assert epoch_of(cuts, config, DRAWS, features=kept) == found, "from memory"
    fewer = epoch_of(cuts.subset(last=5), config, DRAWS)
    assert set(fewer.items()) < set(found.items()), "other utterances change nothing"


@pytest.mark.parametrize("other", [Draws(4, 0, 0), Draws(3, 1, 0), Draws(3, 0, 1)])
def test_seed_stage_and_epoch_change_every_utterance(
    cuts: CutSet, noises: Path, other: Draws
) -> None:
    config = everything(noises).model_copy(update={"spec_augment": 1.0})
    found, changed = (epoch_of(cuts, config, draws) for draws in (DRAWS, other))
    assert not set(found.values()) & set(changed.values())


def test_what_is_kept_in_memory_is_not_augmented(cuts: CutSet, noises: Path) -> None:
    kept = store(keep=True)
    epoch_of(cuts, everything(noises), DRAWS, features=kept)
    for cut in cuts:
        assert np.array_equal(kept.samples(cut), read_samples(cut))
        assert torch.equal(kept(cut), store()(cut))


def test_one_kind_of_change_does_not_draw_for_another(cuts: CutSet, noises: Path) -> None:
    """Noise at a probability of 0 leaves speeds and masks as they are without it."""
    plain = epoch_of(cuts, config_of(), DRAWS)
    noise = {"folder": str(noises), "probability": 0.0}
    assert epoch_of(cuts, config_of(noise=noise), DRAWS) == plain


def test_speeds_follow_from_names(cuts: CutSet) -> None:
    speeds = [0.9, 1.0, 1.1]
    first = {cut.recording_id: cut.duration for cut in perturb_speeds(cuts, speeds, DRAWS)}
    assert len(first) == len(cuts)
    for cut in cuts:
        alone = next(iter(perturb_speeds(CutSet.from_cuts([cut]), speeds, DRAWS)))
        assert first[alone.recording_id] == alone.duration
        assert alone.duration in [pytest.approx(cut.duration / one, abs=1e-3) for one in speeds]
    others = perturb_speeds(cuts, speeds, Draws(3, 0, 1))
    assert list(first.values()) != [cut.duration for cut in others]
    assert [cut.id for cut in perturb_speeds(cuts, [1.0], DRAWS)] == [cut.id for cut in cuts]


# Masks.


@pytest.mark.parametrize("frames", [0, 1, 2, 3, 4, 5, 9, 20, 200])
@pytest.mark.parametrize("masks", [1, 4])
def test_masking_of_any_length(frames: int, masks: int) -> None:
    masking = FeatureMasking(config_of(spec_augment=1.0, time_masks=masks, time_mask_share=0.2))
    for seed in range(20):
        features = torch.randn(frames, MEL_BINS)
        kept = features.clone()
        masked = masking(features, np.random.default_rng(seed))
        assert masked.shape == features.shape
        assert torch.equal(features, kept), "the features given may be kept for the next epoch"
        gone = (masked != features).all(dim=1).sum()
        assert gone <= 0.2 * frames


@pytest.mark.parametrize("warp", [0, 5])
def test_masking_follows_from_its_generator_alone(warp: int) -> None:
    masking = FeatureMasking(config_of(spec_augment=1.0, time_warp_frames=warp))
    features = torch.randn(120, MEL_BINS)

    def masked(seed: int) -> torch.Tensor:
        random.seed()
        np.random.seed()
        torch.seed()
        return masking(features, np.random.default_rng(seed))

    assert torch.equal(masked(1), masked(1))
    assert not torch.equal(masked(1), masked(2))
    assert not torch.equal(masked(1), features)


def test_masking_leaves_the_generators_of_others_alone() -> None:
    masking = FeatureMasking(config_of(spec_augment=1.0, time_warp_frames=5))

    def numbers(mask: bool) -> tuple[float, float, float]:
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        if mask:
            masking(torch.randn(120, MEL_BINS, generator=torch.Generator()), generator)
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    generator = np.random.default_rng(1)
    assert numbers(mask=True) == numbers(mask=False)


def test_masking_off() -> None:
    features = torch.randn(120, MEL_BINS)
    masking = FeatureMasking(config_of(spec_augment=0.0))
    for seed in range(20):
        assert torch.equal(masking(features, np.random.default_rng(seed)), features)


# What is refused.


@pytest.mark.parametrize("key", ["noise", "non_speech"])
def test_folder_without_recordings_is_refused(tmp_path: Path, key: str) -> None:
    for folder in (tmp_path / "gone", tmp_path):
        with refused(RecipeError, f"augment.{key}.folder: ", folder):
            Augmentation(config_of(**{key: {"folder": str(folder)}}), 1)


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ({"noise": {}}, ["'noise.folder'"]),
        ({"noise": {"folder": "n", "snr_db": [20, 5]}}, ["'noise.snr_db': ", "[20, 5]"]),
        ({"noise": {"folder": "n", "snr_db": [5]}}, ["'noise.snr_db"]),
        ({"noise": {"folder": "n", "snr_db": [5, 10, 15]}}, ["'noise.snr_db"]),
        ({"noise": {"folder": "n", "snr_db": [5, 1e9]}}, ["'noise.snr_db.1'"]),
        ({"noise": {"folder": "n", "snr": [5, 10]}}, ["'noise.snr'", "'snr_db'"]),
        ({"noise": {"folder": "n", "probability": 1.5}}, ["'noise.probability'"]),
        ({"volume": {"gain_db": [6, -6]}}, ["'volume.gain_db'", "[6, -6]"]),
        ({"reverberation": {"rooms": -1}}, ["'reverberation.rooms'"]),
        ({"reverberation": {"rooms": 0}}, ["'reverberation'", "folder"]),
        ({"reverberation": {"decay_seconds": [0.5, 0.1]}}, ["'reverberation.decay_seconds'"]),
        ({"non_speech": {"folder": "n", "share": 0.0}}, ["'non_speech.share'"]),
        ({"non_speech": {"folder": "n", "share": 0.9}}, ["'non_speech.share'"]),
        ({"non_speech": {"folder": "n", "seconds": [0, 2]}}, ["'non_speech.seconds.0'"]),
    ],
)
def test_bad_sections_are_refused(section: dict[str, Any], named: list[str]) -> None:
    with refused(RecipeError, *named):
        config_of(**section)


def test_all_is_off_unless_asked_for() -> None:
    config = AugmentConfig()
    assert config.noise is config.reverberation is config.volume is config.non_speech is None
    assert not WaveformAugmentation(config, 1).enabled


# Real recordings.


@pytest.mark.corpus
def test_real_noise_at_ten_decibels(corpus_root: Path) -> None:
    manifest, folder = corpus_root / "an4" / "manifest.tsv", corpus_root / "noise"
    if not (manifest.is_file() and folder.is_dir()):
        pytest.skip(f"no AN4 or no noise in {corpus_root}")
    recordings = find_recordings(folder, "key")
    assert len(recordings) == 40
    config = config_of(noise={"folder": str(folder), "probability": 1.0, "snr_db": [10, 10]})
    augment = WaveformAugmentation(config, 1)
    silent = 0
    for cut in load_manifest(f"{manifest}:test").subset(first=60):
        speech = read_samples(cut)
        found = augment(speech, Draws(1, 0, 0).generator("waveform", cut.id))
        added = found.astype(np.float64) - speech
        assert np.isfinite(found).all()
        if power(added) == 0:
            silent += 1  # clips of single sounds are filled up with digital silence
        else:
            assert decibels(power(speech) / power(added)) == pytest.approx(10, abs=0.1)
    assert silent < 20
    for path in recordings:
        assert power(read_audio(path)) > 0
