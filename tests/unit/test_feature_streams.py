"""Streams of features as recognition uses them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from fixtures.errors import refused
from fixtures.random_model import random_model
from fixtures.streaming_network import random_features, streaming_network
from keyframe_asr.errors import ModelError
from keyframe_asr.inference.torch_network import TorchNetwork


def test_a_model_that_cannot_stream_is_refused() -> None:
    network = TorchNetwork(random_model().network, "cpu")
    assert network.streaming is None
    with refused(ModelError, "model.encoder.streaming"):
        network.stream()


@pytest.mark.parametrize("chunk", [None, 3])
def test_streams_give_what_is_simulated(chunk: int | None) -> None:
    network = TorchNetwork(streaming_network(), "cpu")
    assert network.streaming is not None
    stream = network.stream(chunk)
    assert (stream.chunk, stream.left_chunks) == (chunk or network.streaming.chunk, 2)
    utterances = random_features([150, 77], 4)
    states = [stream.start() for _ in utterances]
    states, first = stream.step(states, [one[:50] for one in utterances], [False, False])
    states = pickle.loads(pickle.dumps(states))
    assert all(0 < state.nbytes < 20_000 for state in states)
    _, second = stream.step(states, [one[50:] for one in utterances], [True, True])
    for expected, *parts in zip(stream.simulated(utterances), first, second, strict=True):
        keyframes = np.concatenate([one.keyframes for one in parts])
        np.testing.assert_array_equal(keyframes, expected.keyframes)
        assert keyframes.dtype == np.int64 and len(keyframes)
        for name in ("inter_log_probs", "head_log_probs"):
            found = np.concatenate([getattr(one, name) for one in parts])
            np.testing.assert_allclose(found, getattr(expected, name), rtol=0, atol=1e-4)
