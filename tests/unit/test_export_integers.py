"""Weights of 8 bits in exported graphs: the integers of the model, and nearly the same outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from fixtures.exported import KINDS, exported, small_network, traced_graph
from keyframe_asr.export.graphs import graphs_of
from keyframe_asr.export.integers import Scheme, matrices_of, with_integers
from keyframe_asr.export.precision import LARGEST_ERROR, _relative_error
from keyframe_asr.export.simplification import TRANSPOSED, weight_of
from keyframe_asr.export.tracing import serialised
from keyframe_asr.io.quantisation import dequantise, quantise
from keyframe_asr.runtime.sessions import Sessions


def graph_of(name: str, graph: str) -> onnx.ModelProto:
    """A graph in float32; what was traced for other tests is taken from there."""
    return onnx.load_from_string(exported(name).graph(graph))


class Given(Sessions):
    """Sessions of graphs in memory."""

    def __init__(self, **graphs: onnx.ModelProto) -> None:
        super().__init__(Path(), threads=1)
        self.graphs = graphs

    def _content(self, path: Path) -> bytes:
        return serialised(self.graphs[path.stem])


def inputs_of(name: str, graph: str) -> dict[str, np.ndarray]:
    given = graphs_of(exported(name).network)[graph].inputs
    return {one: value.numpy() for one, value in given.items()}


@pytest.mark.parametrize(
    ("name", "graph", "scheme"),
    [
        ("fbank", "encoder", "dynamic"),
        ("fbank", "encoder", "blocks"),
        ("fbank", "decoder", "blocks"),
        ("whisper", "decoder", "blocks"),
    ],
)
def test_integers_change_outputs_a_little(name: str, graph: str, scheme: Scheme) -> None:
    model, inputs = graph_of(name, graph), inputs_of(name, graph)
    expected = Given(**{graph: model}).run(graph, **inputs)
    with_integers(model, dict.fromkeys(matrices_of(model), scheme))
    assert matrices_of(model) == []
    found = Given(**{graph: model}).run(graph, **inputs)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        changed = np.abs(ours - theirs)
        assert changed.max() < 0.35 * max(1.0, np.abs(theirs).max())
        assert np.median(changed) < 0.05


def test_the_integers_are_those_that_a_model_stores() -> None:
    weight = torch.randn(12, 16, generator=torch.Generator().manual_seed(1))
    integers, scale = quantise(weight)
    again, same = quantise(dequantise(integers, scale))
    assert torch.equal(again, integers)
    torch.testing.assert_close(same, scale, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scheme", ["dynamic", "blocks"])
def test_a_graph_holds_the_integers_of_its_weights(scheme: Scheme) -> None:
    model = graph_of("fbank", "decoder")
    state = {f"decoder.{name}": one for name, one in weights("fbank").items()}
    names = matrices_of(model)
    with_integers(model, dict.fromkeys(names, scheme))
    stored = {one.name: weight_of(one) for one in model.graph.initializer}
    for name in names:
        integers, scale = (one.numpy() for one in quantise(state[name]))
        found = stored[f"{name}.integers"]
        if scheme == "blocks":
            rows, columns = integers.shape
            found = found.reshape(rows, -1)[:, :columns].astype(np.int16).T - 128
        np.testing.assert_array_equal(found.T, integers)
        row_scale = stored[f"{name}.row_scale" if scheme == "blocks" else f"{name}.scale"]
        np.testing.assert_array_equal(row_scale.ravel(), scale)
        assert name + TRANSPOSED not in stored


def weights(name: str) -> dict[str, torch.Tensor]:
    decoder = exported(name).network.decoder
    assert decoder is not None
    return dict(decoder.state_dict())


def test_an_embedding_that_is_the_output_layer_is_stored_once() -> None:
    model = graph_of("whisper", "decoder")
    embedding = "decoder.embed_tokens.weight"
    sizes = [one.name for one in model.graph.initializer if 300 in one.dims]
    assert sizes == [embedding]
    assert embedding in matrices_of(model)
    with_integers(model, {embedding: "blocks"})
    sizes = [one.name for one in model.graph.initializer if 300 in one.dims]
    assert sorted(sizes) == [f"{embedding}.integers", f"{embedding}.row_scale"]


def test_hypotheses_in_blocks_do_not_depend_on_each_other() -> None:
    model = graph_of("fbank", "decoder")
    with_integers(model, dict.fromkeys(matrices_of(model), "blocks"))
    sessions, inputs = Given(decoder=model), inputs_of("fbank", "decoder")
    together, _ = sessions.run("decoder", **inputs)
    alone = {name: inputs[name][:3] for name in ("tokens", "positions", "visible", "parents")} | {
        "past": inputs["past"],
        "memory": inputs["memory"][:, :, :1],
    }
    first, _ = sessions.run("decoder", **alone, memory_lengths=inputs["memory_lengths"][:1])
    np.testing.assert_allclose(first, together[:3], atol=1e-5)


def test_a_few_large_activations_are_noticed() -> None:
    random = np.random.default_rng(2)
    values = random.normal(size=(1, 50, 16)).astype(np.float32)
    weight = random.normal(size=(16, 8)).astype(np.float32)
    assert _relative_error(values, weight) < LARGEST_ERROR
    values[0, 7, 3] = 900.0
    assert _relative_error(values, weight) > LARGEST_ERROR
    assert _relative_error(np.zeros_like(values), weight) == 0.0


def test_the_same_network_gives_the_same_bytes() -> None:
    graph = "decoder_memory"
    first, second = (traced_graph(small_network(KINDS["fbank"])[0], graph) for _ in range(2))
    assert first == second
    model = onnx.load_from_string(first)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert b"/" not in b"".join(node.name.encode() for node in model.graph.node)
