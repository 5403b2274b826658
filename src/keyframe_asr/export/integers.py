"""8-bit weights in exported graphs.

The integers and scales are those of `io.quantisation`: symmetric, one scale per row of a weight. A
weight that the model stores as integers gets the same ones again, so nothing is lost twice.

- `dynamic`, for the encoders: activations become integers with one scale per tensor when the graph
  runs (`DynamicQuantizeLinear`, `MatMulInteger`), which ONNX Runtime joins into one step.
- `blocks`, for decoders: activations get a scale for every 32 of them (`MatMulNBits`), so that a
  hypothesis does not depend on the others, and a few large values spoil only their own block. An
  embedding that is the output layer, too, is stored once.

Convolutions stay in float.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from keyframe_asr.export.simplification import (
    TRANSPOSED,
    add_weight,
    drop_unused,
    replace_nodes,
    weight_of,
)
from keyframe_asr.io.quantisation import quantise

if TYPE_CHECKING:
    import onnx

Scheme = Literal["dynamic", "blocks"]

BLOCK = 32
"""Inputs of a row that share a scale in `MatMulNBits`."""

ZERO_POINT = 128
"""Of `MatMulNBits`, which takes unsigned integers."""

CONTRIBUTED = "com.microsoft"


def matrices_of(model: onnx.ModelProto) -> list[str]:
    """Names of the weights that can become integers, in the order of their use."""
    stored = {one.name for one in model.graph.initializer}
    transposed = {node.output[0] for node in model.graph.node if node.op_type == "Transpose"}
    found = [
        node.input[1].removesuffix(TRANSPOSED)
        for node in model.graph.node
        if node.op_type == "MatMul"
        and node.input[1].endswith(TRANSPOSED)
        and (node.input[1] in stored or node.input[1] in transposed)
    ]
    return list(dict.fromkeys(found))


def with_integers(model: onnx.ModelProto, schemes: Mapping[str, Scheme]) -> None:
    """Store these weights of a graph as integers, in place; the others stay as they are."""
    for name, scheme in schemes.items():
        stored = {one.name: one for one in model.graph.initializer}
        shared = name in stored  # with an embedding
        weight = weight_of(stored[name]) if shared else weight_of(stored[name + TRANSPOSED]).T
        integers, scale = (one.numpy() for one in quantise(torch.from_numpy(weight.copy())))
        write = _dynamic if scheme == "dynamic" else _blocks
        write(model, name, integers, scale)
    drop_unused(model)


def _dynamic(model: onnx.ModelProto, name: str, integers: np.ndarray, scale: np.ndarray) -> None:
    from onnx import TensorProto, helper

    add_weight(model, f"{name}.integers", integers.T)
    add_weight(model, f"{name}.scale", scale)
    quantised = {
        node.input[0] for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"
    }

    def change(node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        if node.op_type != "MatMul" or node.input[1] != name + TRANSPOSED:
            return None
        source, result = node.input[0], node.output[0]
        parts = [f"{source}.{part}" for part in ("integers", "scale", "zero")]
        made = []
        if source not in quantised:
            quantised.add(source)
            made.append(helper.make_node("DynamicQuantizeLinear", [source], parts, parts[0]))
        whole, floats, both = (f"{result}.{part}" for part in ("whole", "floats", "scale"))
        made += [
            helper.make_node(
                "MatMulInteger", [parts[0], f"{name}.integers", parts[2]], [whole], whole
            ),
            helper.make_node("Cast", [whole], [floats], floats, to=TensorProto.FLOAT),
            helper.make_node("Mul", [parts[1], f"{name}.scale"], [both], both),
            helper.make_node("Mul", [floats, both], [result], result),
        ]
        return made

    replace_nodes(model, change)


def _blocks(model: onnx.ModelProto, name: str, integers: np.ndarray, scale: np.ndarray) -> None:
    from onnx import helper

    rows, columns = integers.shape
    blocks = -(-columns // BLOCK)
    packed = np.full((rows, blocks * BLOCK), ZERO_POINT, dtype=np.uint8)
    packed[:, :columns] = integers.astype(np.int16) + ZERO_POINT
    add_weight(model, f"{name}.integers", packed.reshape(rows, blocks, BLOCK))
    add_weight(model, f"{name}.row_scale", scale[:, None])
    add_weight(model, f"{name}.scale_shape", np.array([rows, blocks], dtype=np.int64))
    model.graph.node.insert(
        0,
        helper.make_node(
            "Expand",
            [f"{name}.row_scale", f"{name}.scale_shape"],
            [f"{name}.scale"],
            f"{name}.scale",
        ),
    )

    def change(node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        if node.op_type == "Gather" and node.input[0] == name:
            return list(_embedding(model, node, name, columns))
        if node.op_type != "MatMul" or node.input[1] != name + TRANSPOSED:
            return None
        return [
            helper.make_node(
                "MatMulNBits",
                [node.input[0], f"{name}.integers", f"{name}.scale"],
                [node.output[0]],
                node.name,
                domain=CONTRIBUTED,
                K=columns,
                N=rows,
                bits=8,
                block_size=BLOCK,
                accuracy_level=4,  # activations as integers of 8 bits
            )
        ]

    replace_nodes(model, change)
    if not any(one.domain == CONTRIBUTED for one in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIBUTED, 1))


def _embedding(
    model: onnx.ModelProto, node: onnx.NodeProto, name: str, columns: int
) -> Iterator[onnx.NodeProto]:
    """Rows of an embedding from its integers."""
    from onnx import TensorProto, helper

    add_weight(model, f"{name}.zero", np.array(ZERO_POINT, dtype=np.float32))
    add_weight(model, f"{name}.joined", np.array([0, 0, -1], dtype=np.int64))
    add_weight(model, f"{name}.columns", np.array([columns], dtype=np.int64))
    add_weight(model, f"{name}.first", np.array([0], dtype=np.int64))
    add_weight(model, f"{name}.last_axis", np.array([-1], dtype=np.int64))
    tokens, result = node.input[1], node.output[0]
    steps = [
        f"{result}.{part}" for part in ("taken", "joined", "cut", "floats", "centred", "scale")
    ]
    taken, joined, cut, floats, centred, scale = steps
    yield helper.make_node("Gather", [f"{name}.integers", tokens], [taken], taken)
    yield helper.make_node("Reshape", [taken, f"{name}.joined"], [joined], joined)
    bounds = [f"{name}.first", f"{name}.columns", f"{name}.last_axis"]
    yield helper.make_node("Slice", [joined, *bounds], [cut], cut)
    yield helper.make_node("Cast", [cut], [floats], floats, to=TensorProto.FLOAT)
    yield helper.make_node("Sub", [floats, f"{name}.zero"], [centred], centred)
    yield helper.make_node("Gather", [f"{name}.row_scale", tokens], [scale], scale)
    yield helper.make_node("Mul", [centred, scale], [result], result)
