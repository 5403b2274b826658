"""Streams give what the network gives for whole utterances with the same chunks, however the
features are cut into blocks, and whichever streams share a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import pad_sequence

from fixtures.streaming_network import (
    assert_same_outputs,
    random_features,
    streamed,
    streaming_network,
)
from keyframe_asr.model.streaming import StreamingNetwork
from keyframe_asr.streams.state import FeatureOutput

networks = st.fixed_dictionaries(
    {},
    optional={
        "factor": st.just(8),
        "separable": st.just(True),
        "kernel": st.sampled_from([1, 3]),
        "window": st.sampled_from([1, 3]),
        "layers": st.sampled_from([(1, 0), (3, 1)]),
        "conditioning": st.just(True),
        "fusion": st.sampled_from(
            [None, ("static", 3, True), ("concat", 3, False), ("mean", 2, False)]
        ),
        "keep": st.just("first"),
        "threshold": st.sampled_from([0.2, 0.8]),
        "positions": st.just("sequence"),
        "keyframes": st.just(False),
        "left_keyframes": st.sampled_from([0, 20]),
    },
)


@given(
    networks,
    st.integers(1, 7),
    st.integers(0, 4),
    st.lists(st.integers(0, 180), min_size=1, max_size=4),
    st.integers(0, 10_000),
)
@settings(deadline=None, max_examples=300)
def test_a_stream_gives_what_the_whole_gives(
    described: dict[str, Any], chunk: int, left_chunks: int, lengths: list[int], seed: int
) -> None:
    stream = StreamingNetwork(streaming_network(**described), chunk, left_chunks)
    utterances = random_features(lengths, seed)
    expected = stream.simulated(utterances)
    for found, one in zip(streamed(stream, utterances, seed), expected, strict=True):
        assert_same_outputs(found, one)


@given(
    networks,
    st.integers(1, 7),
    st.lists(st.integers(0, 180), min_size=1, max_size=4),
    st.integers(0, 10_000),
)
@settings(deadline=None, max_examples=150)
def test_with_all_of_the_future_a_stream_gives_what_is_found_in_whole_utterances(
    described: dict[str, Any], chunk: int, lengths: list[int], seed: int
) -> None:
    network = streaming_network(**described | {"left_keyframes": 200})
    stream = StreamingNetwork(network, chunk, left_chunks=200, look_ahead=200)
    utterances = random_features(lengths, seed)
    features = [torch.from_numpy(one) for one in utterances]
    with torch.inference_mode():
        whole = network.encode(pad_sequence(features, batch_first=True), torch.tensor(lengths))
    for row, found in enumerate(streamed(stream, utterances, seed)):
        frames, count = int(whole.frame_lengths[row]), int(whole.keyframes.lengths[row])
        expected = FeatureOutput(
            whole.inter_log_probs[row, :frames].numpy(),
            whole.keyframes.index[row, :count].numpy(),
            whole.head_log_probs[row, :count].numpy(),
        )
        assert_same_outputs(found, expected)


@given(networks, st.integers(1, 9), st.integers(0, 3), st.integers(0, 6), st.integers(0, 10_000))
@settings(deadline=None, max_examples=100)
def test_a_stream_does_not_depend_on_the_size_of_its_blocks(
    described: dict[str, Any], chunk: int, left_chunks: int, look_ahead: int, seed: int
) -> None:
    """Not by a bit."""
    stream = StreamingNetwork(streaming_network(**described), chunk, left_chunks, look_ahead)
    utterances = random_features([150], seed)
    every = [streamed(stream, utterances, seed, longest)[0] for longest in (1, 13, 200)]
    for one in every[1:]:
        for name in ("inter_log_probs", "keyframes", "head_log_probs"):
            np.testing.assert_array_equal(getattr(one, name), getattr(every[0], name))
