"""An encoder that streams: what it may see, what a stream keeps, and when keyframes come out."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fixtures.errors import refused
from fixtures.random_model import noise, random_model
from fixtures.streaming_network import (
    random_features,
    step_by_step,
    streaming_network,
)
from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.model import FeaturesConfig, ModelConfig, ModelFolderConfig
from keyframe_asr.config.recipe import load_recipe
from keyframe_asr.config.strict import parse_config
from keyframe_asr.errors import RecipeError
from keyframe_asr.model.chunks import Chunks
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.streaming import StreamingNetwork
from keyframe_asr.streams.state import FeatureOutput

RECIPES = Path(__file__).resolve().parents[2] / "recipes"


def model_folder(model: dict[str, Any], level: float | None = None) -> ModelFolderConfig:
    data = {
        "name": "one",
        "language": "en",
        "vocab_size": 8,
        "keyframes": True,
        "fusion": True,
        "features": {"level": level},
        "model": model,
    }
    return parse_config(ModelFolderConfig, data, "config.yaml")


def test_features_without_a_level_need_nothing_of_what_follows() -> None:
    """But for the last two, whose windows reach over the end, where the signal is reflected."""
    speech = noise(1.3)
    for level, is_local in ((None, True), (-20.0, False)):
        front_end = Fbank(FeaturesConfig(level=level))
        whole_recording, beginning = front_end(speech), front_end(speech[:9_000])
        heard = len(beginning) - 2
        assert np.array_equal(beginning[:heard], whole_recording[:heard]) == is_local


def test_what_cannot_stream_is_refused() -> None:
    streaming = {"encoder": {"streaming": {}}}
    assert model_folder(streaming).model.encoder.streaming is not None
    with refused(RecipeError, "features.level", -20.0, "null"):
        model_folder(streaming, -20.0)
    with refused(RecipeError, "model.pretrained"):
        model_folder(streaming | {"pretrained": {"family": "whisper", "source": "x"}})
    with refused(RecipeError, "fusion.window", "left_only", 5):
        model_folder(streaming | {"fusion": {"window": 5}})
    with refused(RecipeError, "largest_chunk", 9, 8):
        model_folder({"encoder": {"streaming": {"chunk": 9, "largest_chunk": 8}}})
    for fusion in ({"window": 5, "left_only": True}, {"window": 5, "kind": "none"}, {"window": 3}):
        assert isinstance(model_folder(streaming | {"fusion": fusion}).model, ModelConfig)


def test_a_network_that_cannot_stream_says_so() -> None:
    network = random_model().network
    with pytest.raises(ValueError, match=r"streaming"):
        StreamingNetwork(network)
    with pytest.raises(ValueError, match=r"streaming"):
        network.encode(torch.zeros(1, 8, 16), torch.tensor([8]), chunks=Chunks.of([(1, 1)]))
    for sizes in ((0, 1, 0), (1, -1, 0), (1, 1, -1)):
        with pytest.raises(ValueError, match=str(min(sizes))):
            StreamingNetwork(streaming_network(), *sizes)


def test_an_utterance_that_is_whole_is_encoded_as_ever() -> None:
    network = streaming_network(window=3, conditioning=True)
    lengths = torch.tensor([97, 60, 0])
    utterances = [torch.from_numpy(one) for one in random_features(lengths.tolist(), 3)]
    features = torch.nn.utils.rnn.pad_sequence(utterances, batch_first=True)
    with torch.inference_mode():
        plain = network.encode(features, lengths)
        chunks = Chunks.of([None, (2, 1), None])
        mixed = network.encode(features, lengths, chunks=chunks)
    for row in (0, 2):
        frames, count = int(plain.frame_lengths[row]), int(plain.keyframes.lengths[row])
        assert mixed.keyframes.index[row, :count].tolist() == (
            plain.keyframes.index[row, :count].tolist()
        )
        for name, size in (("inter_log_probs", frames), ("head_log_probs", count)):
            torch.testing.assert_close(
                getattr(mixed, name)[row, :size],
                getattr(plain, name)[row, :size],
                rtol=0,
                atol=1e-5,
            )
    divided = mixed.inter_log_probs[1, :15] - plain.inter_log_probs[1, :15]
    assert divided.abs().max() > 1e-2


@pytest.mark.parametrize("factor", [4, 8])
@pytest.mark.parametrize("chunk", [1, 3])
@pytest.mark.parametrize("look_ahead", [0, 1, 4])
def test_a_chunk_sees_exactly_its_features_those_ahead_and_what_came_before(
    factor: int, chunk: int, look_ahead: int
) -> None:
    network = streaming_network(factor=factor)
    stream = StreamingNetwork(network, chunk, left_chunks=2, look_ahead=look_ahead)
    features = random_features([factor * (chunk * 6 + look_ahead)], 1)[0]
    border = factor * (chunk * 3 + look_ahead)  # features of the first three chunks
    changed = features.copy()
    changed[border:] += 1.0
    before = stream.simulated([features])[0].inter_log_probs
    after = stream.simulated([changed])[0].inter_log_probs
    np.testing.assert_allclose(after[: 3 * chunk], before[: 3 * chunk], rtol=0, atol=1e-6)
    assert np.abs(after[3 * chunk] - before[3 * chunk]).max() > 1e-3
    changed = features.copy()
    changed[border - 1] += 1.0  # the last feature of a chunk reaches back into all of it
    reached = (
        stream.simulated([changed])[0].inter_log_probs[2 * chunk : 3 * chunk]
        - (before[2 * chunk : 3 * chunk])
    )
    assert (np.abs(reached).max(axis=1) > 1e-5).all()


def test_frames_before_the_left_chunks_do_not_matter() -> None:
    """With a kernel of 1 and one layer, only the attention and the subsampling look back."""
    stream = StreamingNetwork(streaming_network(kernel=1, layers=(1, 1)), 2, left_chunks=1)
    features = random_features([8 * 6], 1)[0]
    changed = features.copy()
    changed[:8] += 1.0
    difference = stream.simulated([changed])[0].inter_log_probs - (
        stream.simulated([features])[0].inter_log_probs
    )
    seen = np.abs(difference).max(axis=1) > 1e-5
    # the first frame of the second chunk hears the last features of the first one, too, so the
    # third chunk hears them through it
    assert seen.tolist() == [True] * 6 + [False] * 6


def test_a_state_is_a_value() -> None:
    stream = StreamingNetwork(streaming_network(), 2)
    features = random_features([120], 5)[0]
    state, _ = stream.step_one(stream.start(), features[:70])
    stored = pickle.dumps(state)
    expected = [stream.step_one(state, features[70:], last=True)[1] for _ in range(2)]
    again = stream.step_one(pickle.loads(stored), features[70:], last=True)[1]
    for one in (*expected, again):
        assert one.keyframes.tolist() == expected[0].keyframes.tolist() != []
        assert np.array_equal(one.head_log_probs, expected[0].head_log_probs)


@pytest.mark.parametrize("keyframes", [True, False])
def test_a_state_stops_growing(keyframes: bool) -> None:
    network = streaming_network(keyframes=keyframes)
    stream = StreamingNetwork(network, 3, left_chunks=2)
    features = random_features([3000], 5)[0]
    sizes = [state.nbytes for state, _ in step_by_step(stream, features, 12)]
    stored = len(pickle.dumps(step_by_step(stream, features, 12)[-2][0]))
    assert max(sizes[100:]) <= max(sizes[:100])
    assert stored < max(sizes) + 10_000, "a state holds no memory of its batch"


@pytest.mark.parametrize("name", ["an4", "aishell1"])
def test_a_stream_of_the_recipes_takes_less_than_2_megabytes(name: str) -> None:
    """With so many keyframes that all caches are full."""
    model = load_recipe(RECIPES / f"streaming_{name}.yaml").model
    torch.manual_seed(1)
    network = KeyframeNetwork(model, 80, 100).eval()
    network.keyframes_enabled = network.fusion_enabled = True
    features = torch.randn(model.subsampling.factor * 160, 80)
    with torch.no_grad():
        frames, _, _ = network.lower(features[None], torch.tensor([len(features)]))
        # what all frames have in common would give them the same label
        network.inter_ctc.bias.copy_(-network.inter_ctc.weight @ frames[0].mean(dim=0))
    steps = step_by_step(StreamingNetwork(network), features.numpy(), 400)
    assert sum(len(output.keyframes) for _, output in steps) > 64
    assert max(state.nbytes for state, _ in steps) < 2_000_000


def test_silence_gives_no_keyframe_before_its_end_and_keeps_one_then() -> None:
    network = streaming_network(threshold=0.05)
    stream = StreamingNetwork(network, 2, left_chunks=1)
    features = np.zeros((2000, network.normalisation.mean.numel()), dtype=np.float32)
    with torch.no_grad():
        bias = network.inter_ctc.bias.clone()
        network.inter_ctc.bias[0] += 30.0
        steps = step_by_step(stream, features, 16)
        expected = stream.simulated([features])[0]
        network.inter_ctc.bias.copy_(bias)
    assert [len(output.keyframes) for _, output in steps] == [0] * (len(steps) - 1) + [1]
    assert FeatureOutput.joined([output for _, output in steps]).keyframes.shape == (
        expected.keyframes.shape
    )
    sizes = [state.nbytes for state, _ in steps]
    assert max(sizes) < 1.5 * sizes[2], "of all the silence it keeps one frame and its neighbours"


def test_an_ended_utterance_takes_no_more() -> None:
    stream = StreamingNetwork(streaming_network())
    nothing = np.zeros((0, 10), dtype=np.float32)
    state, output = stream.step_one(stream.start(), nothing, last=True)
    assert state.ended
    assert (len(output.inter_log_probs), len(output.keyframes)) == (0, 0)
    with pytest.raises(ValueError, match="ended"):
        stream.step_one(state, nothing)
    with pytest.raises(ValueError, match="zip"):
        stream.step([stream.start()], [], [False])


def test_a_peak_with_the_frame_after_it_waits_for_nothing_but_the_end_of_its_run() -> None:
    """With chunks of one frame, the frame that ends a run brings out the run's keyframe."""
    around = StreamingNetwork(streaming_network(fusion=("attention", 3, False)), 1)
    before = StreamingNetwork(streaming_network(fusion=("attention", 3, True)), 1)
    features = random_features([400], 2)[0]
    found = []
    for stream in (around, before):
        steps = step_by_step(stream, features, 4)
        found.append([output.keyframes.tolist() for _, output in steps])
    assert found[0] == found[1]
    assert sum(map(len, found[0])) > 5


def test_a_first_frame_with_the_frame_after_it_waits_for_one_frame() -> None:
    around = StreamingNetwork(streaming_network(keep="first"), 1)
    alone = StreamingNetwork(streaming_network(keep="first", fusion=None), 1)
    features = random_features([400], 2)[0]
    times = []
    for stream in (around, alone):
        steps = step_by_step(stream, features, 4)
        times.append(
            {
                one: number
                for number, (_, output) in enumerate(steps)
                for one in output.keyframes.tolist()
            }
        )
    assert times[0].keys() == times[1].keys()
    assert all(times[1][one] == one for one in times[1])
    assert all(times[0][one] == min(one + 1, 99) for one in times[0])
