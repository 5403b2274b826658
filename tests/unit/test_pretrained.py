"""Pretrained encoders: equal to transformers', untouched by padding, frozen layer by layer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.nn.utils.rnn import pad_sequence

from fixtures.command_line import lacking
from fixtures.errors import refused
from fixtures.random_model import random_model
from fixtures.tiny_pretrained import (
    ARCHITECTURES,
    STABLE_WAV2VEC2,
    WAV2VEC2,
    WHISPER,
    pretrained_config,
    random_encoder,
    write_source,
)
from fixtures.tone_corpus import MODEL, recipe_data, stage, tones
from keyframe_asr.audio.features import NormalisedWaveform, WhisperMel, front_end
from keyframe_asr.config.model import FeaturesConfig, ModelConfig, PretrainedConfig
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.errors import ModelError, PackageError
from keyframe_asr.io import model_location
from keyframe_asr.io.architectures import with_architecture
from keyframe_asr.io.pretrained_source import OWN_PREFIX, load_original
from keyframe_asr.io.quantisation import with_quantised
from keyframe_asr.model.network import KeyframeNetwork, build_pretrained
from keyframe_asr.model.pretrained import LayerSum, PretrainedEncoder
from keyframe_asr.model.whisper import WhisperEncoder

LOCAL_WHISPER = Path("models") / "whisper-base-encoder"


def some_features(architecture: dict[str, Any], frames: list[int]) -> list[torch.Tensor]:
    """Of several utterances; a frame of the waveform is 160 samples here too."""
    generator = torch.Generator().manual_seed(1)
    whisper = architecture["model_type"] == "whisper"
    return [
        torch.randn((count, 80) if whisper else (160 * count, 1), generator=generator)
        for count in frames
    ]


@torch.inference_mode()
def alone(encoder: PretrainedEncoder, features: torch.Tensor) -> torch.Tensor:
    outputs, lengths = encoder(features[None], torch.tensor([len(features)]))
    assert outputs.shape[1] == lengths[0]
    return outputs[0]


@torch.inference_mode()
def together(encoder: PretrainedEncoder, features: list[torch.Tensor]) -> list[torch.Tensor]:
    """Padded with what must not matter."""
    lengths = torch.tensor([len(one) for one in features])
    padded = pad_sequence(features, batch_first=True, padding_value=9.0)
    outputs, sizes = encoder(padded, lengths)
    return [one[:size] for one, size in zip(outputs, sizes.tolist(), strict=True)]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("layers", [[], [0], [1, 3]])
def test_padding_changes_nothing(name: str, layers: list[int]) -> None:
    encoder = random_encoder(ARCHITECTURES[name], layers=layers)
    features = some_features(ARCHITECTURES[name], [50, 113, 4, 0, 300])
    batch = together(encoder, features)
    for one, found in zip(features, batch, strict=True):
        if len(one):
            torch.testing.assert_close(found, alone(encoder, one), atol=1e-5, rtol=1e-5)
        else:
            assert len(found) == 0


def test_outputs_of_whisper_come_at_half_the_rate_of_its_mel() -> None:
    encoder = random_encoder(WHISPER)
    sizes = [len(one) for one in together(encoder, some_features(WHISPER, [1, 2, 3, 120, 121]))]
    assert sizes == [1, 1, 2, 60, 61]


def test_whisper_on_a_full_window_is_that_of_transformers() -> None:
    encoder = random_encoder(WHISPER)
    assert isinstance(encoder, WhisperEncoder)
    mel = some_features(WHISPER, [120])[0]
    with torch.inference_mode():
        expected = encoder.encoder(mel.T[None]).last_hidden_state[0]
    torch.testing.assert_close(alone(encoder, mel), expected, atol=1e-5, rtol=1e-5)


def test_whisper_encodes_what_is_longer_than_its_positions_in_windows() -> None:
    encoder = random_encoder(WHISPER)
    mel = some_features(WHISPER, [301])[0]
    expected = torch.cat([alone(encoder, mel[start : start + 120]) for start in (0, 120, 240)])
    torch.testing.assert_close(alone(encoder, mel), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", [WAV2VEC2, STABLE_WAV2VEC2], ids=["post", "pre"])
def test_wav2vec2_is_that_of_transformers(architecture: dict[str, Any]) -> None:
    import transformers

    encoder = random_encoder(architecture, layers=[0, 1, 2, 3])
    whole: Any = encoder.encoder
    assert isinstance(whole, transformers.Wav2Vec2Model)
    waveform = some_features(architecture, [60])[0]
    with torch.inference_mode():
        found = whole(waveform.T, output_hidden_states=True)
    outputs = alone(encoder, waveform).split(16, dim=-1)
    for place in (0, 1, 2):
        torch.testing.assert_close(
            outputs[place], found.hidden_states[place][0], atol=1e-5, rtol=1e-5
        )
    torch.testing.assert_close(outputs[3], found.last_hidden_state[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layers_above_the_highest_taken_are_not_built(name: str) -> None:
    features = some_features(ARCHITECTURES[name], [70])[0]
    lower = random_encoder(ARCHITECTURES[name], layers=[2])
    assert len(list(lower.encoder_layers())) == 2
    several = random_encoder(ARCHITECTURES[name], layers=[3, 0, 2])
    assert several.chosen == (0, 2, 3) and several.width == 48
    torch.testing.assert_close(alone(lower, features), alone(several, features)[:, 16:32])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_frozen_until_told_and_then_from_that_layer_on(name: str) -> None:
    encoder = random_encoder(ARCHITECTURES[name])
    assert not any(one.requires_grad for one in encoder.parameters())
    encoder.unfreeze_from(3)
    trained = {name for name, one in encoder.named_parameters() if one.requires_grad}
    assert trained and all("layers.2." in one or "layer_norm" in one for one in trained)
    assert not any("layers.1." in one for one in trained)
    encoder.unfreeze_from(0)
    frozen = {name for name, one in encoder.named_parameters() if not one.requires_grad}
    assert all("embed_positions" in one or "masked_spec_embed" in one for one in frozen)
    encoder.unfreeze_from(None)
    assert not any(one.requires_grad for one in encoder.parameters())
    with refused(ModelError, "unfreeze_from_layer", 4):
        encoder.unfreeze_from(4)


def test_training_mode_never_reaches_the_encoder() -> None:
    encoder = random_encoder(WAV2VEC2)  # its dropouts are 0.1 unless told otherwise
    features = some_features(WAV2VEC2, [40])[0]
    before = alone(encoder, features)
    encoder.train()
    torch.testing.assert_close(alone(encoder, features), before, atol=0, rtol=0)


def test_the_sum_of_layers_starts_as_their_mean_and_is_learned() -> None:
    layers = LayerSum(3)
    outputs = torch.arange(12.0).view(1, 1, 12)
    torch.testing.assert_close(layers(outputs)[0, 0], torch.tensor([4.0, 5.0, 6.0, 7.0]))
    layers.scores.data = torch.tensor([0.0, 100.0, 0.0])
    torch.testing.assert_close(layers(outputs)[0, 0], torch.tensor([4.0, 5.0, 6.0, 7.0]))
    layers.scores.data = torch.tensor([100.0, 0.0, 0.0])
    torch.testing.assert_close(layers(outputs)[0, 0], torch.tensor([0.0, 1.0, 2.0, 3.0]))


def test_whisper_mel_is_that_of_transformers_at_the_utterances_own_length() -> None:
    samples = tones("ABCDEF")
    mel = WhisperMel(80)(samples)
    assert mel.shape == (len(samples) // 160, 80)
    from transformers import WhisperFeatureExtractor

    padded = WhisperFeatureExtractor()(samples, sampling_rate=16_000, return_tensors="np")
    inside = len(mel) - 2  # the last window hears the padding
    expected = padded["input_features"][0].T
    np.testing.assert_allclose(mel[:inside], expected[:inside], atol=2e-5)


@pytest.mark.parametrize("samples", [0, 159, 160, 200, 399, 400, 16_000])
def test_whisper_mel_of_very_short_recordings(samples: int) -> None:
    mel = WhisperMel(80)(tones("A")[:samples] if samples < 6000 else np.zeros(samples, "f4"))
    assert mel.shape == (samples // 160, 80)
    assert np.isfinite(mel).all()


def test_waveform_is_normalised_as_transformers_does() -> None:
    samples = tones("AB")
    found = NormalisedWaveform()(samples)
    from transformers import Wav2Vec2FeatureExtractor

    expected = Wav2Vec2FeatureExtractor()(samples, sampling_rate=16_000, return_tensors="np")
    np.testing.assert_allclose(found[:, 0], expected["input_values"][0], atol=1e-4)
    assert NormalisedWaveform()(samples[:0]).shape == (0, 1)
    assert np.isfinite(NormalisedWaveform()(np.zeros(50, "f4"))).all()


def test_each_family_has_its_front_end() -> None:
    config = FeaturesConfig()
    assert isinstance(front_end(config, pretrained_config(WHISPER)), WhisperMel)
    assert isinstance(front_end(config, pretrained_config(WAV2VEC2)), NormalisedWaveform)


@pytest.mark.parametrize("prefix", ["", "encoder.", "model.encoder."])
def test_weights_are_read_from_encoders_and_whole_checkpoints(tmp_path: Path, prefix: str) -> None:
    source = write_source(tmp_path / "source", WHISPER, prefix)
    config = pretrained_config(WHISPER, str(source))
    encoder = build_pretrained(config)
    load_original(encoder, config)
    expected = random_encoder(WHISPER).state_dict()
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("named_by_name", [False, True])
def test_the_encoder_of_a_model_of_this_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named_by_name: bool
) -> None:
    source = write_source(tmp_path / "source", WHISPER, OWN_PREFIX)
    (source / "config.json").unlink()
    own = {"family": "whisper", "source": "gone", "architecture": WHISPER}
    described = random_model().config.model_dump(mode="json")
    described["model"]["pretrained"] = own
    (source / "config.yaml").write_text(yaml.safe_dump(described), encoding="utf-8")
    file = source / "model.safetensors"
    weights = load_file(file)
    save_file(with_quantised(weights, [name for name in weights if "fc1" in name]), file)
    monkeypatch.setattr(model_location, "shipped_models", lambda: {"ours": source})
    config = PretrainedConfig(family="whisper", source="ours" if named_by_name else str(source))
    data = recipe_data(tmp_path / "none.tsv", [stage("baseline")])
    data["model"] = data["model"] | {"pretrained": config.model_dump()}
    filled = with_architecture(parse_config(Recipe, data, "recipe")).model.pretrained
    assert filled is not None and filled.architecture == WHISPER
    encoder = build_pretrained(filled)
    load_original(encoder, filled)
    expected = random_encoder(WHISPER).state_dict()
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-2, rtol=1e-3)
    data["model"] = data["model"] | {"pretrained": {"family": "wav2vec2", "source": str(source)}}
    with refused(ModelError, "'whisper'", "'wav2vec2'"):
        with_architecture(parse_config(Recipe, data, "recipe"))


def test_weights_of_wav2vec2_with_the_old_names_of_weight_norm(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", WAV2VEC2, "wav2vec2.")
    file = source / "model.safetensors"
    old = {
        name.replace(".parametrizations.weight.original0", ".weight_g").replace(
            ".parametrizations.weight.original1", ".weight_v"
        ): tensor
        for name, tensor in load_file(file).items()
    }
    assert any(name.endswith("weight_g") for name in old)
    save_file(old, file)
    config = pretrained_config(WAV2VEC2, str(source))
    encoder = build_pretrained(config)
    load_original(encoder, config)
    expected = random_encoder(WAV2VEC2).state_dict()
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=2e-3, rtol=1e-3)


def test_a_source_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    config = pretrained_config(WHISPER, "../no/such/folder")
    with refused(ModelError, "../no/such/folder: ", "openai/whisper-base"):
        load_original(build_pretrained(config), config)
    config = pretrained_config(WHISPER, "nobody/no-such-encoder")
    with refused(ModelError, "nobody/no-such-encoder: "):
        load_original(build_pretrained(config), config)
    empty = tmp_path / "empty"
    empty.mkdir()
    config = pretrained_config(WHISPER, str(empty))
    with refused(ModelError, f"{empty}: ", "config.json"):
        load_original(build_pretrained(config), config)
    source = write_source(tmp_path / "source", WHISPER)
    other = pretrained_config(WHISPER | {"encoder_layers": 4}, str(source))
    with refused(ModelError, f"{source}: ", "'layers.3."):
        load_original(build_pretrained(other), other)
    wide = pretrained_config(WHISPER | {"encoder_ffn_dim": 32}, str(source))
    with refused(ModelError, f"{source}: ", "(24, 16)", "(32, 16)"):
        load_original(build_pretrained(wide), wide)
    with refused(ModelError, 9, 0, 3):
        build_pretrained(pretrained_config(WHISPER, layers=[9]))
    shutil.rmtree(source)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking("transformers", monkeypatch)
    with refused(PackageError, "pip install 'keyframe-asr[pretrained]'"):
        build_pretrained(pretrained_config(WHISPER))


def test_the_front_end_of_whisper_needs_no_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking("transformers", monkeypatch)
    computed = front_end(FeaturesConfig(), pretrained_config(WHISPER))(tones("AB"))
    assert computed.shape == (len(tones("AB")) // 160, 80)


def test_a_network_takes_front_end_features_or_what_is_encoded_already() -> None:
    torch.manual_seed(2)
    model = parse_config(ModelConfig, MODEL, "tiny")
    config = model.model_copy(update={"pretrained": pretrained_config(WHISPER, layers=[1, 3])})
    network = KeyframeNetwork(config, 80, 9).eval()
    mel = pad_sequence(some_features(WHISPER, [40, 90]), batch_first=True)
    lengths = torch.tensor([40, 90])
    assert network.pretrained is not None
    with torch.inference_mode():
        directly = network.encode(mel, lengths)
        outputs, sizes = network.pretrained(mel, lengths)
        later = network.encode(outputs, sizes, pre_encoded=True)
    torch.testing.assert_close(directly.memory, later.memory)
    assert directly.frame_lengths.tolist() == [10, 23]
    plain = KeyframeNetwork(model, 80, 9)
    with refused(ValueError):
        plain.encode(mel, lengths, pre_encoded=True)


@pytest.fixture(scope="module")
def whisper_base(corpus_root: Path) -> PretrainedEncoder:
    source = corpus_root.parent / LOCAL_WHISPER
    if not source.is_dir():
        pytest.skip(f"no open weights at {source}")
    architecture = json.loads((source / "config.json").read_text())
    config = pretrained_config(architecture, str(source))
    encoder = build_pretrained(config)
    load_original(encoder, config)
    return encoder.eval()


@pytest.mark.corpus
def test_whisper_base_on_thirty_seconds_is_that_of_transformers(
    whisper_base: PretrainedEncoder,
) -> None:
    samples = np.tile(tones("ABCDEFFEDCBA"), 20)[: 30 * 16_000]
    mel = torch.from_numpy(WhisperMel(80)(samples))
    whole: Any = whisper_base.encoder
    with torch.inference_mode():
        expected = whole(mel.T[None]).last_hidden_state[0]
    torch.testing.assert_close(alone(whisper_base, mel), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.corpus
def test_whisper_base_is_untouched_by_padding(whisper_base: PretrainedEncoder) -> None:
    mels = [torch.from_numpy(WhisperMel(80)(tones(text))) for text in ("A", "FEDCBA", "BAD")]
    for one, found in zip(mels, together(whisper_base, mels), strict=True):
        torch.testing.assert_close(found, alone(whisper_base, one), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", list(ARCHITECTURES))
@torch.inference_mode()
def test_lengths_of_outputs_are_known_beforehand(family: str) -> None:
    encoder = random_encoder(ARCHITECTURES[family])
    unit = 1 if family == "whisper" else 160
    lengths = unit * torch.tensor([0, 1, 2, 3, 61, 119, 120])
    width = 80 if family == "whisper" else 1
    _, found = encoder(torch.randn(7, int(lengths.max()), width), lengths)
    assert encoder.output_lengths(lengths).tolist() == found.tolist()
