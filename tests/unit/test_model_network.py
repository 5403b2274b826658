"""The whole network at its edges: no frames, one frame, no keyframes, one keyframe."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fixtures.errors import refused
from fixtures.tone_corpus import MEL_BINS, MODEL
from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.strict import parse_config
from keyframe_asr.model.encoded import Encoded
from keyframe_asr.model.keyframes import Keyframes
from keyframe_asr.model.network import KeyframeNetwork

VOCABULARY = 7
MODES = [(False, False), (False, True), (True, False), (True, True)]


def build(keyframes: bool = True, fusion: bool = True, **changes: Any) -> KeyframeNetwork:
    torch.manual_seed(8)
    config = parse_config(ModelConfig, MODEL | changes, "model")
    network = KeyframeNetwork(config, MEL_BINS, VOCABULARY).eval()
    network.keyframes_enabled, network.fusion_enabled = keyframes, fusion
    return network


def blank_everywhere(network: KeyframeNetwork) -> KeyframeNetwork:
    network.inter_ctc.bias.data[0] = 50.0
    return network


def encode(network: KeyframeNetwork, *sizes: int, seed: int = 1) -> Encoded:
    torch.manual_seed(seed)
    features = torch.randn(len(sizes), max(sizes), MEL_BINS)
    return network.encode(features, torch.tensor(sizes))


def assert_consistent(encoded: Encoded, network: KeyframeNetwork) -> None:
    kept = encoded.keyframes
    batch, width = kept.index.shape
    dim = network.config.encoder.dim
    assert encoded.memory.shape == (batch, width, dim)
    assert encoded.head_log_probs.shape == (batch, width, VOCABULARY)
    assert encoded.inter_log_probs.shape[2] == VOCABULARY
    assert (kept.lengths <= encoded.frame_lengths).all()
    assert (kept.lengths > 0).equal(encoded.frame_lengths > 0)
    for one in (encoded.memory, encoded.head_log_probs, encoded.inter_log_probs):
        assert one.isfinite().all()
    torch.testing.assert_close(
        encoded.head_log_probs.exp().sum(-1), torch.ones(batch, width), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("keyframes", "fusion"), MODES)
@pytest.mark.parametrize("sizes", [(40, 0, 1), (1,), (3, 4, 5), (0, 0)])
def test_any_length(keyframes: bool, fusion: bool, sizes: tuple[int, ...]) -> None:
    network = build(keyframes, fusion)
    encoded = encode(network, *sizes)
    assert encoded.frame_lengths.tolist() == [-(-size // 4) for size in sizes]
    assert_consistent(encoded, network)
    assert network.decoder is not None
    logits = network.decoder(
        torch.full((len(sizes), 2), 2),
        torch.full((len(sizes),), 2),
        encoded.memory,
        encoded.keyframes.lengths,
    )
    assert logits.isfinite().all()


@pytest.mark.parametrize(("keyframes", "fusion"), MODES)
def test_an_empty_utterance_changes_nothing_for_others(keyframes: bool, fusion: bool) -> None:
    network = build(keyframes, fusion)
    features = torch.randn(1, 40, MEL_BINS)
    alone = network.encode(features, torch.tensor([40]))
    beside = network.encode(features.expand(2, -1, -1), torch.tensor([40, 0]))
    torch.testing.assert_close(beside.head_log_probs[:1], alone.head_log_probs, rtol=0, atol=1e-5)


def test_all_frames_are_kept_without_keyframes() -> None:
    encoded = encode(build(keyframes=False), 40, 9)
    assert encoded.keyframes.index.tolist() == [list(range(10)), [0, 1, 2, *[0] * 7]]
    assert encoded.keyframes.lengths.equal(encoded.frame_lengths)


def test_no_spike_keeps_the_least_blank_frame() -> None:
    network = blank_everywhere(build())
    encoded = encode(network, 80, 40)
    assert encoded.keyframes.lengths.tolist() == [1, 1]
    for row, frames in enumerate(encoded.frame_lengths.tolist()):
        blank = encoded.inter_log_probs[row, :frames, 0]
        assert int(encoded.keyframes.index[row, 0]) == int(blank.argmin())
    assert_consistent(encoded, network)


def test_least_number_of_keyframes() -> None:
    network = blank_everywhere(build())
    features, lengths = torch.randn(3, 40, MEL_BINS), torch.tensor([40, 8, 0])
    encoded = network.encode(features, lengths, torch.tensor([4, 5, 3]))
    assert encoded.keyframes.lengths.tolist() == [4, 2, 0]


@pytest.mark.parametrize("fusion", [False, True])
def test_all_frames_as_keyframes_equal_no_selection(fusion: bool) -> None:
    """With every frame a spike of its own, selection is the identity."""
    network = build(keyframes=True, fusion=fusion)
    features, lengths = torch.randn(1, 40, MEL_BINS), torch.tensor([40])
    selected = network.encode(features, lengths, torch.tensor([10]))
    network.keyframes_enabled = False
    every = network.encode(features, lengths)
    assert selected.keyframes.index.equal(every.keyframes.index)
    torch.testing.assert_close(selected.head_log_probs, every.head_log_probs, rtol=0, atol=1e-5)


def test_positions_come_from_the_source_frames() -> None:
    """Encoder 2 hears where keyframes were, unless it is told to count them."""
    found: dict[str, Tensor] = {}
    for positions in ("source", "sequence"):
        config = parse_config(ModelConfig, MODEL | {"keyframes": {"positions": positions}}, "model")
        torch.manual_seed(8)
        network = KeyframeNetwork(config, MEL_BINS, VOCABULARY).eval()
        network.keyframes_enabled = True
        encoded = encode(network, 200)
        index = encoded.keyframes.index
        assert (index.diff() > 1).any(), "the test needs keyframes that lie apart"
        found[positions] = encoded.memory
    assert found["source"].shape == found["sequence"].shape
    assert not torch.allclose(found["source"], found["sequence"], atol=1e-4)


@pytest.mark.parametrize("decoder", [None, MODEL["decoder"]])
def test_decoder_is_optional(decoder: Any) -> None:
    network = build(decoder=decoder)
    assert (network.decoder is None) == (decoder is None)
    assert_consistent(encode(network, 30), network)


def test_forward_is_encode() -> None:
    network = build()
    features, lengths = torch.randn(2, 40, MEL_BINS), torch.tensor([40, 12])
    assert network(features, lengths).memory.equal(network.encode(features, lengths).memory)


def test_parameters_are_the_same_for_every_stage() -> None:
    names = [list(build(*mode).state_dict()) for mode in MODES]
    assert all(one == names[0] for one in names)


def test_features_are_normalised_inside() -> None:
    network = build()
    features, lengths = torch.randn(1, 40, MEL_BINS), torch.tensor([40])
    before = network.encode(features, lengths).memory
    network.normalisation.mean.fill_(5.0)
    network.normalisation.inverse_std.fill_(0.5)
    after = network.encode(features * 2 + 5, lengths).memory
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)


def test_nan_in_valid_frames_is_refused() -> None:
    with refused(ValueError, "[1]"):
        features = torch.randn(2, 40, MEL_BINS)
        features[1, 3] = torch.nan
        build().encode(features, torch.tensor([40, 40]))


def test_self_conditioning_tells_encoder_2_what_the_inter_ctc_says() -> None:
    conditioned = {"encoder": MODEL["encoder"] | {"self_conditioning": True}}
    network = build(keyframes=False, fusion=False, **conditioned)
    before = encode(network, 40)
    with torch.no_grad():
        network.inter_ctc.bias[3] += 5.0
    after = encode(network, 40)
    assert not torch.allclose(after.memory, before.memory, atol=1e-3)
    plain = build(keyframes=False, fusion=False)
    memory = encode(plain, 40).memory
    with torch.no_grad():
        plain.inter_ctc.bias[3] += 5.0
    assert encode(plain, 40).memory.equal(memory)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("kind", ["attention", "static", "concat"])
def test_posteriors_are_added_where_encoder_2_looks(fused: bool, kind: str) -> None:
    """Added to all frames, they give the same."""
    torch.manual_seed(8)
    changes = {"encoder": MODEL["encoder"] | {"self_conditioning": True}, "fusion": {"kind": kind}}
    config = parse_config(ModelConfig, MODEL | changes, "model")
    network = KeyframeNetwork(config, MEL_BINS, VOCABULARY).eval()
    network.keyframes_enabled, network.fusion_enabled = True, fused
    network.inter_ctc.bias.data[0] = 1.0
    encoded = encode(network, 300, 83, 0, 9)
    assert 0 < 3 * encoded.keyframes.index.size(1) < encoded.inter_log_probs.size(1)
    every = Keyframes.all_frames(encoded.frame_lengths, encoded.inter_log_probs.size(1))
    conditioning = network.conditioning
    assert conditioning is not None
    frames = torch.randn(4, encoded.inter_log_probs.size(1), config.encoder.dim)
    everywhere = frames + conditioning(encoded.inter_log_probs.exp())
    somewhere = network._conditioned(
        frames, encoded.inter_log_probs, encoded.keyframes, conditioning
    )
    sees = network.fusion if fused else lambda x, _, keyframes: keyframes.gather(x)
    torch.testing.assert_close(
        sees(somewhere, encoded.frame_lengths, encoded.keyframes),
        sees(everywhere, encoded.frame_lengths, encoded.keyframes),
    )
    assert (somewhere == frames).all(dim=-1).any()
    whole = network._conditioned(frames, encoded.inter_log_probs, every, conditioning)
    torch.testing.assert_close(whole, everywhere)
