"""Take the weights out of graphs that will lie beside them, in the folder of their model.

What a graph says then follows from the architecture, and from which layers need blocks.
`runtime.stored_weights` gives it the weights again when it is loaded. A graph is traced with other
weights (`with_distinct_weights`), because the exporter joins those that happen to be equal.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from keyframe_asr.export.simplification import TRANSPOSED
from keyframe_asr.io.model_location import WEIGHTS_FILE

if TYPE_CHECKING:
    import onnx

    from keyframe_asr.model.network import KeyframeNetwork

FORM_OF_SUFFIX = {
    TRANSPOSED: "floats transposed",
    ".integers": "integers transposed",
    ".scale": "scales",
    ".row_scale": "scales of rows",
}
"""What an initializer is of the weight whose name it begins with; see `FORMS`."""

UNSIGNED = "integers in blocks"


def with_distinct_weights(network: KeyframeNetwork) -> KeyframeNetwork:
    """Copy a network; no two weights of the copy are equal, and none is computed from others.

    A convolution of wav2vec 2.0 has a norm that is a parameter of its own.
    """
    other = copy.deepcopy(network)
    for module in list(other.modules()):
        if parametrize.is_parametrized(module):
            _make_plain(module)
    generator = torch.Generator().manual_seed(1)
    for weight in other.state_dict().values():
        if weight.is_floating_point():
            weight.copy_(torch.rand(weight.shape, generator=generator))
    return other


def _make_plain(module: nn.Module) -> None:
    """As `parametrize.remove_parametrizations`, which would change the original of a copy, too."""
    weights = {name: getattr(module, name).detach() for name in _parametrized(module)}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, weight in weights.items():
        module.register_parameter(name, nn.Parameter(weight))


def _parametrized(module: nn.Module) -> list[str]:
    return list(cast(nn.ModuleDict, module.parametrizations))


def give_weights(
    model: onnx.ModelProto, module: nn.Module, traced: nn.Module, network: nn.Module
) -> None:
    """Put the weights of a network into a graph, in place.

    Args:
        model: the graph, in float32.
        module: what it was traced from.
        traced: the network that `module` is a part of.
        network: of the same architecture.
    """
    from onnx import numpy_helper

    names, weights = _names(module, traced), network.state_dict()
    for one in model.graph.initializer:
        if (name := names.get(one.name.removesuffix(TRANSPOSED))) is not None:
            weight = weights[name].detach().numpy() if name in weights else _computed(network, name)
            stored = weight.T.copy() if one.name.endswith(TRANSPOSED) else weight
            one.CopyFrom(numpy_helper.from_array(stored, one.name))


def _computed(network: nn.Module, name: str) -> np.ndarray:
    """A weight that is computed from others."""
    place, _, weight = name.rpartition(".")
    computed: torch.Tensor = getattr(network.get_submodule(place), weight)
    return computed.detach().numpy()


def _names(module: nn.Module, network: nn.Module) -> dict[str, str]:
    """Names in a network of the weights of a module that is a part of it."""
    stored = {weight.data_ptr(): name for name, weight in network.state_dict().items()}
    return {name: stored[weight.data_ptr()] for name, weight in module.state_dict().items()}


def take_weights(
    model: onnx.ModelProto, module: nn.Module, network: nn.Module
) -> dict[str, tuple[str, str]]:
    """Remove all weights from a graph, in place.

    Args:
        model: the graph.
        module: what it was traced from.
        network: that `module` is a part of.

    Returns:
        For each constant that is missing now, the name of the weight in `network`, and the form.
    """
    import onnx

    names = _names(module, network)
    taken: dict[str, tuple[str, str]] = {}
    for one in model.graph.initializer:
        if one.name in names:
            taken[one.name] = names[one.name], "floats"
        for suffix, form in FORM_OF_SUFFIX.items():
            if (weight := names.get(one.name.removesuffix(suffix))) and one.name.endswith(suffix):
                in_blocks = one.data_type == onnx.TensorProto.UINT8
                taken[one.name] = weight, UNSIGNED if in_blocks else form
    for one in model.graph.initializer:
        if one.name in taken:
            shape = list(one.dims), one.data_type, one.name
            one.Clear()
            one.dims.extend(shape[0])
            one.data_type, one.name = shape[1:]
            one.data_location = onnx.TensorProto.EXTERNAL
            one.external_data.add(key="location", value=WEIGHTS_FILE)
    return taken
