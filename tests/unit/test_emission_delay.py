"""The emission delay is measured from a dev set with word times, and moves the token times."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.model import FeaturesConfig, FusionConfig, ModelConfig
from keyframe_asr.data.corpora.synthetic.corpus import SyntheticCorpus, make_corpus
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.timestamps import timed_tokens
from keyframe_asr.inference.recognizer import load
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.io.model_folder import shipped_models
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import CharacterTokenizer
from keyframe_asr.training.stage_model import measure_emission_delay


def test_a_delay_moves_every_start_and_never_before_the_recording() -> None:
    found = Hypothesis((3, 4), -1.0, (0, 1), (0.9, 0.8))
    before = timed_tokens(found, [5, 10], 0.04, 1.0, str, -0.1)
    assert [token.start for token in before] == pytest.approx([0.3, 0.5])
    after = timed_tokens(found, [5, 10], 0.04, 1.0, str, 0.3)
    assert [token.start for token in after] == pytest.approx([0.0, 0.1])


def test_the_shipped_model_stores_the_delay_that_is_measured(tmp_path: Path) -> None:
    manifests = make_corpus(tmp_path, SyntheticCorpus("mandarin", train=0, dev=40, test=0, seed=4))
    recognizer = load("demo", backend="torch")
    store = FeatureStore(Fbank(recognizer.config.features), keep=False)
    cuts = load_manifest(manifests["dev"])
    measured = measure_emission_delay(
        module_of(recognizer.network), recognizer.tokenizer, store, cuts
    )
    assert measured == pytest.approx(recognizer.config.emission_delay_seconds, abs=0.05)


def test_an_older_folder_gives_the_times_of_the_present_one(tmp_path: Path) -> None:
    manifests = make_corpus(tmp_path, SyntheticCorpus("mandarin", train=0, dev=1, test=0, seed=4))
    recording = audio_path(next(iter(load_manifest(manifests["dev"]))))
    shutil.copytree(shipped_models()["demo"], tmp_path / "old")
    config = tmp_path / "old" / "config.yaml"
    present = "emission_delay_seconds: -0.155"
    assert present in config.read_text()
    config.write_text(config.read_text().replace(present, "spike_lead_seconds: 0.155"))
    tokens = load("demo").transcribe(recording).tokens
    assert tokens
    assert load(tmp_path / "old").transcribe(recording).tokens == tokens


def test_a_network_that_recognises_nothing_has_no_delay(tmp_path: Path) -> None:
    manifests = make_corpus(tmp_path, SyntheticCorpus("mandarin", train=0, dev=5, test=0, seed=4))
    cuts = load_manifest(manifests["dev"])
    tokenizer = CharacterTokenizer(sorted(set("".join(text(cut) for cut in cuts))))
    torch.manual_seed(1)
    config = ModelConfig.model_validate(
        {
            "encoder": {"layers": 2, "keyframe_layer": 1, "dim": 16, "heads": 2},
            "fusion": FusionConfig(),
            "decoder": None,
        }
    )
    network = KeyframeNetwork(config, 80, tokenizer.vocab_size)
    store = FeatureStore(Fbank(FeaturesConfig()), keep=False)
    assert measure_emission_delay(network, tokenizer, store, cuts) == 0.0
