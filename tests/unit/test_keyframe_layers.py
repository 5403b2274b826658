"""Upper layers of a pretrained encoder on keyframes: the same layers, fewer frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fixtures.errors import refused
from fixtures.tiny_pretrained import (
    ARCHITECTURES,
    WAV2VEC2,
    WHISPER,
    pretrained_config,
    random_encoder,
    write_source,
    write_whole_whisper,
)
from fixtures.tone_corpus import MODEL, recipe_data, small_corpus, stage
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.errors import ModelError, RecipeError
from keyframe_asr.model.encoded import Encoded
from keyframe_asr.model.keyframe_layers import KeyframeLayers
from keyframe_asr.model.keyframes import Keyframes
from keyframe_asr.model.network import KeyframeNetwork, build_pretrained
from keyframe_asr.training.checkpoint import load_weights
from keyframe_asr.training.run import train


def some_features(architecture: dict[str, Any], frames: int, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    whisper = architecture["model_type"] == "whisper"
    return torch.randn((1, frames, 80) if whisper else (1, 160 * frames, 1), generator=generator)


def model(architecture: dict[str, Any], layer: int | None, **changes: Any) -> ModelConfig:
    layers = [2] if layer is None else []
    pretrained = pretrained_config(architecture, layers=layers, keyframe_layer=layer)
    return parse_config(ModelConfig, MODEL | {"pretrained": pretrained.model_dump()} | changes, "")


def network(config: ModelConfig) -> KeyframeNetwork:
    torch.manual_seed(5)
    built = KeyframeNetwork(config, 80, 9)
    assert config.pretrained is not None and config.pretrained.architecture is not None
    encoder = random_encoder(config.pretrained.architecture)
    assert built.pretrained is not None
    weights = {name: encoder.state_dict()[name] for name in built.pretrained.state_dict()}
    built.pretrained.load_state_dict(weights)
    built.inter_ctc.weight.data.mul_(6.0)
    built.keyframes_enabled = built.fusion_enabled = True
    return built.eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("layer", [1, 2])
@torch.inference_mode()
def test_on_all_outputs_the_upper_layers_are_those_of_the_whole_encoder(
    name: str, layer: int
) -> None:
    whole = random_encoder(ARCHITECTURES[name])
    split = random_encoder(ARCHITECTURES[name], keyframe_layer=layer)
    features = some_features(ARCHITECTURES[name], 101)
    lengths = torch.tensor([features.size(1)])
    expected, sizes = whole(features, lengths)
    lower, lower_sizes = split(features, lengths)
    assert torch.equal(sizes, lower_sizes)
    below = random_encoder(ARCHITECTURES[name], layers=[layer])
    torch.testing.assert_close(lower, below(features, lengths)[0])
    places = torch.arange(lower.size(1))[None]
    torch.testing.assert_close(split.upper(lower, places, sizes), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_keyframes_of_whisper_attend_to_their_own_window_only() -> None:
    whole, split = random_encoder(WHISPER), random_encoder(WHISPER, keyframe_layer=1)
    features = some_features(WHISPER, 301)  # two and a half windows
    lengths = torch.tensor([301])
    expected, sizes = whole(features, lengths)
    lower, _ = split(features, lengths)
    places = torch.arange(lower.size(1))[None]
    torch.testing.assert_close(split.upper(lower, places, sizes), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_keyframe_is_the_mean_of_the_outputs_around_it() -> None:
    encoder = random_encoder(WHISPER, keyframe_layer=2)
    layers = KeyframeLayers(16, 8, 4, 2)
    outputs = torch.randn(1, 11, 16, generator=torch.Generator().manual_seed(2))
    keyframes = Keyframes(torch.tensor([[0, 2, 5]]), torch.tensor([3]))
    found = layers(encoder, outputs, torch.tensor([11]), keyframes)
    means = [outputs[0, :3], outputs[0, 3:7], outputs[0, 9:11]]  # one frame is two outputs
    vectors = torch.stack([one.mean(dim=0) for one in means])[None]
    expected = encoder.upper(vectors, torch.tensor([[0, 4, 10]]), torch.tensor([3]))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def kept(encoded: Encoded, row: int) -> list[torch.Tensor]:
    count = int(encoded.keyframes.lengths[row])
    vectors, lengths = encoded.attended
    return [encoded.head_log_probs[row, :count], vectors[row, : int(lengths[row])]]


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_an_utterance_is_the_same_alone_and_in_a_batch(name: str) -> None:
    architecture = ARCHITECTURES[name]
    built = network(model(architecture, 2))
    assert built.keyframe_layers is not None
    torch.nn.init.normal_(built.keyframe_layers.projection.weight)
    short, long = some_features(architecture, 80), some_features(architecture, 290, seed=2)
    padded = torch.full_like(long, 9.0)
    padded[:, : short.size(1)] = short
    sizes = torch.tensor([short.size(1), long.size(1)])
    together = built(torch.cat((padded, long)), sizes)
    for row, one in enumerate((short, long)):
        alone = built(one, sizes[row : row + 1])
        for found, expected in zip(kept(together, row), kept(alone, 0), strict=True):
            assert len(found)
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_new_upper_layers_change_nothing_until_they_are_trained() -> None:
    before, after = network(model(WHISPER, None)), network(model(WHISPER, 2))
    after.load_state_dict(before.state_dict(), strict=False)
    features, lengths = some_features(WHISPER, 200), torch.tensor([200])
    expected = before(features, lengths)
    found = after(features, lengths)
    torch.testing.assert_close(found.head_log_probs, expected.head_log_probs)
    assert after.keyframe_layers is not None
    torch.nn.init.normal_(after.keyframe_layers.projection.weight)
    assert not torch.allclose(after(features, lengths).head_log_probs, expected.head_log_probs)


def test_the_decoder_attends_to_the_output_of_the_upper_layers() -> None:
    decoder = {"kind": "pretrained", "source": "tiny", "architecture": WHISPER | DECODER}
    built = network(model(WHISPER, 2, decoder=decoder))
    assert built.keyframe_layers is not None and built.decoder_memory is not None
    assert set(dict(built.decoder_memory.named_parameters())) == {"adapter.weight", "adapter.bias"}
    found = built(some_features(WHISPER, 200), torch.tensor([200]))
    vectors, lengths = found.attended
    assert torch.equal(lengths, found.keyframes.lengths) and vectors.shape[2] == 16
    vectors.sum().backward()
    assert built.keyframe_layers.offset_bias.grad is not None
    assert built.keyframe_layers.offset_bias.grad.abs().sum() > 0


DECODER: dict[str, Any] = {
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 24,
    "max_target_positions": 40,
    "vocab_size": 300,
}


def test_there_must_be_a_layer_for_the_keyframes() -> None:
    for layer in (3, 7):
        with refused(ModelError, "3 layers", str(layer), "choose 1 to 2"):
            build_pretrained(pretrained_config(WHISPER, keyframe_layer=layer))


def test_what_contradicts_the_keyframe_layer_is_refused() -> None:
    decoder = {"kind": "pretrained", "source": "tiny", "memory": "neighbours"}
    pretrained = pretrained_config(WHISPER, keyframe_layer=2).model_dump()
    with refused(RecipeError, "neighbours", "fused"):
        parse_config(ModelConfig, MODEL | {"pretrained": pretrained, "decoder": decoder}, "m")
    with refused(RecipeError, "keyframe_layer is 2", "1"):
        parse_config(ModelConfig, MODEL | {"pretrained": pretrained | {"layers": [0, 1]}}, "m")


def test_layers_on_keyframes_are_trained_on_stored_outputs(tmp_path: Path) -> None:
    source = write_whole_whisper(tmp_path / "source")
    data = recipe_data(
        small_corpus(tmp_path / "corpus"),
        [
            stage("first", 1, keyframes=True, fusion=True, unfreeze_from_layer=3),
            stage("second", 1, keyframes=True, fusion=True, unfreeze_from_layer=3),
        ],
    )
    described = {"family": "whisper", "source": str(source), "keyframe_layer": 2}
    data["model"] = MODEL | {"pretrained": described}
    data["augment"] = {"speeds": [1.0], "time_mask_frames": 5, "frequency_mask_bins": 3}
    train(parse_config(Recipe, data, "tones"), tmp_path / "run", quiet=True)
    stores = list((tmp_path / "run" / "encodings").iterdir())
    assert len(stores) == 1  # the layers below have not changed
    first, second = (
        load_weights(tmp_path / "run" / name / "averaged.safetensors")
        for name in ("first", "second")
    )
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    assert any("pretrained.encoder.layers.2." in name for name in changed)
    assert any(name.startswith("keyframe_layers.") for name in changed)
    lower = [name for name in first if name.startswith("pretrained.encoder.layers.1.")]
    assert lower and not changed & set(lower)


def test_a_stage_that_trains_lower_layers_stores_no_outputs() -> None:
    encoder = random_encoder(WHISPER, keyframe_layer=2)
    assert encoder.is_frozen(None) and encoder.is_frozen(3)
    assert not encoder.is_frozen(2) and not encoder.is_frozen(0)
    assert not random_encoder(WHISPER).is_frozen(3)


def test_the_source_may_be_an_encoder_alone(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", WAV2VEC2)
    data = recipe_data(
        small_corpus(tmp_path / "corpus"), [stage("only", 1, keyframes=True, fusion=True)]
    )
    described = {"family": "wav2vec2", "source": str(source), "keyframe_layer": 1}
    data["model"] = MODEL | {"pretrained": described}
    data["augment"] = {"speeds": [1.0], "time_mask_frames": 5, "frequency_mask_bins": 3}
    train(parse_config(Recipe, data, "tones"), tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "only" / "model" / "model.safetensors").is_file()
