"""Exported graphs on streams give what torch gives, for every kind of model and any division."""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.command_line import keyframe
from fixtures.errors import refused
from fixtures.exported import KINDS, TracedSessions, small_network
from fixtures.random_model import noise, random_model
from fixtures.streaming_network import (
    BINS,
    LABELS,
    assert_same_outputs,
    random_features,
    streamed,
    streaming_network,
)
from keyframe_asr.audio.features import front_end
from keyframe_asr.config.model import FeaturesConfig, ModelFolderConfig
from keyframe_asr.config.streaming import StreamingConfig
from keyframe_asr.errors import ModelError
from keyframe_asr.export.graphs import graphs_of
from keyframe_asr.export.integers import matrices_of, with_integers
from keyframe_asr.export.tracing import serialised
from keyframe_asr.inference.onnx_network import open_onnx
from keyframe_asr.inference.torch_network import TorchNetwork
from keyframe_asr.io.model_folder import load_model_folder, save_model_folder
from keyframe_asr.model.streaming import StreamingNetwork
from keyframe_asr.runtime.streaming import STREAM_GRAPHS, ExportedStreams
from keyframe_asr.streams.state import FeatureOutput, FeatureState

NETWORKS: dict[str, dict[str, Any]] = {
    "peak": {"factor": 8, "conditioning": True, "window": 3},
    "first": {
        "keep": "first",
        "fusion": ("concat", 2, True),
        "kernel": 3,
        "left_keyframes": 1,
        "positions": "sequence",
    },
    "alone": {"fusion": ("static", 1, False), "threshold": 0.7, "separable": True},
    "all frames": {"keyframes": False, "conditioning": True, "layers": (1, 1)},
}
SIZES = st.tuples(st.integers(1, 7), st.integers(0, 3), st.integers(0, 5))
"""Chunk, chunks before, and look-ahead."""
LENGTHS = st.lists(st.integers(0, 180), min_size=1, max_size=3)


class InIntegers(TracedSessions):
    """The graphs of a network in 8 bits."""

    def _content(self, path: Path) -> bytes:
        model = onnx.load_from_string(super()._content(path))
        with_integers(model, dict.fromkeys(matrices_of(model), "dynamic"))
        return serialised(model)


@functools.cache
def sessions(name: str, kind: type[TracedSessions] = TracedSessions) -> TracedSessions:
    network = streaming_network(**NETWORKS[name])
    if kind is TracedSessions:
        return kind(network)
    others = kind(network)
    others.content = sessions(name).content
    return others


def exported_streams(
    name: str, sizes: tuple[int, int, int], kind: type[TracedSessions] = TracedSessions
) -> ExportedStreams:
    network = streaming_network(**NETWORKS[name])
    config = ModelFolderConfig(
        name="small",
        language="en",
        vocab_size=LABELS,
        keyframes=network.keyframes_enabled,
        fusion=network.fusion_enabled,
        features=FeaturesConfig(num_mel_bins=BINS, level=None),
        model=network.config,
    )
    return ExportedStreams(config, sessions(name, kind), *sizes)


def shapes(state: FeatureState) -> list[tuple[int, ...]]:
    pasts = [(one.keys, one.values, one.inputs) for one in (state.encoder1, state.encoder2)]
    arrays = [state.features, state.edges, state.windows.frames, *pasts[0], *pasts[1]]
    return [one.shape for one in arrays]


@pytest.mark.parametrize("name", NETWORKS)
@given(SIZES, LENGTHS, st.integers(0, 10_000))
@settings(deadline=None, max_examples=15)
def test_exported_streams_give_what_torch_gives(
    name: str, sizes: tuple[int, int, int], lengths: list[int], seed: int
) -> None:
    exported = exported_streams(name, sizes)
    stream = StreamingNetwork(streaming_network(**NETWORKS[name]), *sizes)
    utterances = random_features(lengths, seed)
    expected = stream.simulated(utterances)
    for found, one in zip(streamed(exported, utterances, seed), expected, strict=True):
        assert_same_outputs(found, one)
    half, here, there = len(utterances[0]) // 2, exported.start(), stream.start()
    here, _ = exported.step_one(here, utterances[0][:half])
    there, _ = stream.step_one(there, utterances[0][:half])
    assert shapes(here) == shapes(there)
    _, found = exported.step_one(there, utterances[0][half:], last=True)
    _, one = stream.step_one(there, utterances[0][half:], last=True)
    assert_same_outputs(found, one)


@pytest.mark.parametrize("name", ["peak", "all frames"])
@given(SIZES, LENGTHS, st.integers(0, 10_000))
@settings(deadline=None, max_examples=10)
def test_in_8_bits_neither_the_division_nor_other_streams_change_anything(
    name: str, sizes: tuple[int, int, int], lengths: list[int], seed: int
) -> None:
    stream = exported_streams(name, sizes, InIntegers)
    utterances = random_features(lengths, seed)
    interleaved = streamed(stream, utterances, seed)
    for found, one in zip(interleaved, utterances, strict=True):
        (alone,) = stream.simulated([one])
        assert_equal_outputs(found, alone)
        (blocks,) = streamed(stream, [one], seed, longest=9)
        assert_equal_outputs(blocks, alone)


def assert_equal_outputs(found: FeatureOutput, expected: FeatureOutput) -> None:
    for name in ("inter_log_probs", "keyframes", "head_log_probs"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_8_bits_change_streams_a_little() -> None:
    utterances = random_features([180], 3)
    (floats,), (integers,) = (
        exported_streams("peak", (2, 2, 1), kind).simulated(utterances)
        for kind in (TracedSessions, InIntegers)
    )
    difference = np.abs(floats.inter_log_probs - integers.inter_log_probs)
    assert 1e-5 < np.median(difference) < 0.05


def test_models_that_cannot_stream_get_the_graphs_that_they_always_had() -> None:
    network, _ = small_network(KINDS["fbank"])
    assert list(graphs_of(network)) == ["encoder", "keyframes", "decoder_memory", "decoder"]
    streaming = streaming_network()
    assert list(graphs_of(streaming)) == ["encoder", "keyframes", *STREAM_GRAPHS]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that streams, with graphs in 8 bits, and an export in float32 beside it."""
    one = random_model(decoder=False, streaming=StreamingConfig(chunk=3, left_chunks=4))
    folder = tmp_path_factory.mktemp("model") / "random"
    save_model_folder(folder, one.network, one.tokenizer, one.config, "# random\n")
    for options in (["--int8"], ["--out", folder.parent / "float32"]):
        done = keyframe("export", folder, *options, "--verify")
        assert done.exit_code == 0, done
        assert len(re.findall("encoder frames", done.stdout)) == 2
    return folder


def test_both_kinds_of_export_stream(model: Path) -> None:
    stored = load_model_folder(model)
    features = front_end(stored.config.features, None)(noise(3.0))
    (expected,) = TorchNetwork(stored.network, "cpu").stream(5).simulated([features])
    (floats,) = open_onnx(model.parent / "float32").stream(5).simulated([features])
    assert_same_outputs(floats, expected)
    (integers,) = open_onnx(model).stream(5).simulated([features])
    difference = np.abs(integers.inter_log_probs - expected.inter_log_probs)
    assert 0 < np.median(difference) < 0.1


def test_graphs_serve_every_size_of_chunk(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "copy")
    config = (folder / "config.yaml").read_text()
    assert open_onnx(folder).stream().chunk == 3
    (folder / "config.yaml").write_text(config.replace("chunk: 3\n", "chunk: 6\n"))
    stream = open_onnx(folder).stream()
    assert (stream.chunk, stream.left_chunks) == (6, 4)
    assert len(stream.simulated([np.zeros((40, 16), dtype=np.float32)])) == 1


def test_an_export_without_streaming_graphs_says_so(model: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "copy")
    (folder / "graphs" / "stream_keyframes.onnx").unlink()
    network = open_onnx(folder)
    assert network.streaming is not None
    with refused(ModelError, "stream_keyframes.onnx", "keyframe export"):
        network.stream()
    with refused(ModelError, "model.encoder.streaming"):
        open_onnx(Path(__file__).parents[2] / "src/keyframe_asr/models/demo").stream()
