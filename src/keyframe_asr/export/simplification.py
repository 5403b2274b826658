"""Simplify traced graphs: weights get their names back, and what changes nothing is left out.

The exporter writes attention with a guard against rows without keys, of which the masks of
`model.masks` have none, and transposes keys by way of three dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

if TYPE_CHECKING:
    import onnx


class Nodes:
    """The nodes of a graph by what they make and use."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.maker = {name: node for node in self.graph.node for name in node.output}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def replace_input(self, old: str, new: str) -> None:
        """Let all users of a value use another one."""
        for node in self.users.pop(old, []):
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new
            self.users.setdefault(new, []).append(node)


def simplify(model: onnx.ModelProto, module: nn.Module, *, guarded: bool) -> None:
    """Simplify a graph in place.

    Args:
        model: the graph.
        module: what it was traced from.
        guarded: keep the guards of rows without keys.
    """
    _name_weights(model, module)
    if not guarded:
        _drop_guards(Nodes(model))
    _transpose_keys(Nodes(model))
    drop_unused(model)


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and weights that no output needs."""
    graph = model.graph
    needed = {one.name for one in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    _replace_all(graph.node, reversed(kept))
    _replace_all(graph.initializer, [one for one in graph.initializer if one.name in needed])


def weight_of(tensor: onnx.TensorProto) -> np.ndarray:
    """The array of an initializer."""
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def add_weight(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    """Add an initializer."""
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))


def replace_nodes(
    model: onnx.ModelProto, change: Callable[[onnx.NodeProto], list[onnx.NodeProto] | None]
) -> None:
    """Replace each node by those that `change` returns; None keeps it."""
    found = [change(node) or [node] for node in model.graph.node]
    _replace_all(model.graph.node, [node for several in found for node in several])


def _name_weights(model: onnx.ModelProto, module: nn.Module) -> None:
    """Name the transposed matrices of linear layers.

    A matrix that is an embedding, too, stays as it is, and is transposed when the graph runs.
    """
    from onnx import helper

    matrices = {
        (weight.shape[::-1], weight.detach().numpy().T.tobytes()): name
        for name, weight in module.state_dict().items()
        if weight.dim() == 2 and weight.is_floating_point()
    }
    nodes, stored = Nodes(model), {one.name: one for one in model.graph.initializer}
    for node in list(model.graph.node):
        if node.op_type != "MatMul":
            continue
        old = node.input[1]
        matrix, maker = stored.get(old), nodes.maker.get(old)
        if maker is not None and maker.op_type == "Transpose" and maker.input[0] in stored:
            maker.output[0] = maker.input[0] + TRANSPOSED
            nodes.replace_input(old, maker.output[0])
        elif matrix is not None and len(matrix.dims) == 2:
            name = matrices.get((tuple(matrix.dims), weight_of(matrix).tobytes()))
            if name is None:
                continue
            if name in stored:
                transpose = helper.make_node("Transpose", [name], [name + TRANSPOSED], perm=[1, 0])
                model.graph.node.insert(0, transpose)
                nodes.replace_input(old, name + TRANSPOSED)
            elif name + TRANSPOSED not in stored:
                matrix.name = name + TRANSPOSED
                stored[matrix.name] = matrix
                nodes.replace_input(old, matrix.name)


TRANSPOSED = ".T"
"""Suffix of the names of weights that are stored transposed, as MatMul takes them."""


def _drop_guards(nodes: Nodes) -> None:
    """Take the softmax itself instead of 0 where it is NaN."""
    for node in list(nodes.graph.node):
        if node.op_type != "IsNaN":
            continue
        for user in nodes.users[node.output[0]]:
            if user.op_type == "Where" and user.input[2] == node.input[0]:
                nodes.replace_input(user.output[0], node.input[0])


def _transpose_keys(nodes: Nodes) -> None:
    """Transpose keys (B, H, N, D / H) in one step."""
    for node in list(nodes.graph.node):
        if node.op_type != "MatMul":
            continue
        chain = list(_makers(nodes, node.input[1], 3))
        if [one.op_type for one in chain] != ["Reshape", "Transpose", "Reshape"]:
            continue
        _, swap, first = chain
        if list(swap.attribute[0].ints) != [0, 2, 1]:
            continue
        swap.attribute[0].ints[:] = [0, 1, 3, 2]
        swap.input[0] = first.input[0]
        node.input[1] = swap.output[0]


def _makers(nodes: Nodes, name: str, count: int) -> Iterator[onnx.NodeProto]:
    for _ in range(count):
        node = nodes.maker.get(name)
        if node is None:
            return
        yield node
        name = node.input[0]


def _replace_all(field: object, values: object) -> None:
    kept = list(values)  # type: ignore[call-overload]
    del field[:]  # type: ignore[attr-defined]
    field.extend(kept)  # type: ignore[attr-defined]
