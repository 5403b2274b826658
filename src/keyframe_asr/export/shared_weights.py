"""Take the weights out of graphs that will lie beside them, in the folder of their model.

What a graph says then follows from the architecture alone. `runtime.stored_weights` gives it the
weights again when it is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from keyframe_asr.export.simplification import TRANSPOSED
from keyframe_asr.io.model_location import WEIGHTS_FILE

if TYPE_CHECKING:
    import onnx

FORM_OF_SUFFIX = {
    TRANSPOSED: "floats transposed",
    ".integers": "integers transposed",
    ".scale": "scales",
    ".row_scale": "scales of rows",
}
"""What an initializer is of the weight whose name it begins with; see `FORMS`."""

UNSIGNED = "integers in blocks"


def take_weights(
    model: onnx.ModelProto, module: nn.Module, network: nn.Module
) -> dict[str, tuple[str, str]]:
    """Remove all weights from a graph, in place.

    Args:
        model: the graph.
        module: what it was traced from.
        network: whose weights the model folder stores.

    Returns:
        For each constant that is missing now, the name of the weight in `network`, and the form.
    """
    import onnx

    stored = {weight.data_ptr(): name for name, weight in network.state_dict().items()}
    names = {name: stored[weight.data_ptr()] for name, weight in module.state_dict().items()}
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
