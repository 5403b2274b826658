"""Trace graphs with torch.export and write them as ONNX, opset 20, with the same bytes every time.

It is the lowest opset with GELU as one node. Opset 23 would turn attention into one node, whose
treatment of masks differs between execution providers.
"""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from keyframe_asr.export.simplification import simplify
from keyframe_asr.runtime.sessions import FORMAT

if TYPE_CHECKING:
    import onnx

OPSET = 20


@dataclass(frozen=True)
class Graph:
    """A module to export, with examples of its inputs.

    Attributes:
        module: takes the inputs in their order.
        inputs: by name.
        fixed: axes whose size never changes, by input.
        outputs: their names.
        rows_without_keys: attention has queries that may attend to nothing, in the padding.
    """

    module: nn.Module
    inputs: dict[str, Tensor]
    fixed: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    rows_without_keys: bool = False


@torch.inference_mode()
def traced(graph: Graph) -> onnx.ModelProto:
    """Export a graph; all axes may have any size, but for the fixed ones."""
    shapes: dict[str, Any] = {
        name: {
            axis: torch.export.Dim.DYNAMIC
            for axis in range(value.dim())
            if axis not in graph.fixed.get(name, ())
        }
        for name, value in graph.inputs.items()
    }
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            graph.module.eval(),
            (),
            kwargs=graph.inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=shapes,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _forget_origin(model)
    simplify(model, graph.module, guarded=graph.rows_without_keys)
    return model


def serialised(model: onnx.ModelProto) -> bytes:
    """The bytes of a model."""
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def described(model: onnx.ModelProto, properties: dict[str, str]) -> None:
    """Store properties in a model, in order."""
    for key, value in sorted(properties.items()):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def _forget_origin(model: onnx.ModelProto) -> None:
    """Remove where each node comes from: paths of this machine."""
    for part in (model, model.graph, *model.graph.node, *model.functions):
        part.doc_string = ""
        del part.metadata_props[:]
    values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
    for value in (*values, *model.graph.initializer):
        value.doc_string = ""
        del value.metadata_props[:]
    del model.graph.value_info[:]
    model.producer_name, model.producer_version = "keyframe-asr", FORMAT
