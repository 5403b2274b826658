"""Which weights become integers, and how: measured, not guessed.

Activations are quantised with one scale for all (`dynamic`), which is fastest. Where a few values
are so large that the others become 0, as in one layer of Whisper, a weight is multiplied in blocks
instead, each with a scale of its own. The test: on noise that is made here, the median relative
error of a layer's output is more than `LARGEST_ERROR`. What makes the memory of a pretrained
decoder stays in float, as in model folders (`io.model_folder`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keyframe_asr.audio.features import front_end
from keyframe_asr.audio.synthetic_noise import make_synthetic_noise
from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.export.integers import Scheme, matrices_of
from keyframe_asr.export.simplification import TRANSPOSED, weight_of
from keyframe_asr.runtime.network import ExportedNetwork
from keyframe_asr.runtime.sessions import Sessions

if TYPE_CHECKING:
    import onnx

LARGEST_ERROR = 0.03
"""Relative error of a layer's output, beyond which activations get a scale for every block.

On development recordings of `english-mandarin`, the divergence of the inter-CTC from float32 is
0.018 nats a frame with 0.1, which leaves one layer in blocks; 0.002 with 0.03, five layers and 14 %
more time; 0.001 with 0.02, sixteen layers and 37 %. Its texts have 173 errors in float32, 176 with
0.03 and 172 with 0.02, in 1112 words and characters."""

IN_FLOAT = ("network.decoder_memory.",)
"""Beginnings of the names of weights that stay in float."""

MEASURED_IN = {"stream_encoder": "encoder", "stream_keyframes": "keyframes"}
"""Graphs with the layers of another one, which are stored as they are there."""

NOISE_SECONDS = 3.0


def schemes_of(
    graphs: dict[str, onnx.ModelProto], folder: Path, config: ModelFolderConfig
) -> dict[str, dict[str, Scheme]]:
    """How each weight of each graph is stored.

    Args:
        graphs: in float32.
        folder: that holds them.
        config: of the model.
    """
    errors = activation_errors(graphs, folder, config)
    schemes: dict[str, dict[str, Scheme]] = {}
    for name, model in graphs.items():
        in_blocks = name.startswith("decoder")
        schemes[name] = {
            weight: "blocks"
            if in_blocks or errors[MEASURED_IN.get(name, name)].get(weight, 0.0) > LARGEST_ERROR
            else "dynamic"
            for weight in matrices_of(model)
            if not weight.startswith(IN_FLOAT)
        }
    return schemes


def activation_errors(
    graphs: dict[str, onnx.ModelProto], folder: Path, config: ModelFolderConfig
) -> dict[str, dict[str, float]]:
    """Relative error of the output of each layer of the encoders, by graph and weight.

    It is that of integers for activations and weights; the median over frames, and the largest of
    all kinds of noise.
    """
    watched = _WatchedSessions(folder, graphs)
    network = ExportedNetwork(config, watched)
    compute = front_end(config.features, config.model.pretrained)
    loudest: dict[str, np.ndarray[Any, Any]] = {}
    for noise in make_synthetic_noise(NOISE_SECONDS):
        if noise.kind != "silence":
            loudest.setdefault(noise.kind, noise.samples)
    for samples in loudest.values():
        network.encode([compute(samples)])
    return watched.errors


class _WatchedSessions(Sessions):
    """Sessions that measure what the inputs of linear layers would lose as integers."""

    def __init__(self, folder: Path, graphs: dict[str, onnx.ModelProto]) -> None:
        super().__init__(folder, threads=1)
        self.errors: dict[str, dict[str, float]] = {name: {} for name in graphs}
        self._graphs = graphs
        self._inputs: dict[str, dict[str, list[str]]] = {}
        self._weights: dict[str, dict[str, np.ndarray[Any, Any]]] = {}

    def run(self, name: str, **inputs: Any) -> list[Any]:
        outputs: list[Any] = self.session(name).run(None, inputs)
        values = self._inputs[name]
        count = len(outputs) - len(values)
        for weights, value in zip(values.values(), outputs[count:], strict=True):
            for weight in weights:
                error = _relative_error(value, self._weights[name][weight])
                known = self.errors[name].get(weight, 0.0)
                self.errors[name][weight] = max(known, error)
        return outputs[:count]

    def _content(self, path: Path) -> bytes:
        """The graph, whose outputs are also the inputs of its linear layers."""
        import onnx
        from onnx import helper

        model = onnx.ModelProto()
        model.CopyFrom(self._graphs[path.stem])
        used: dict[str, list[str]] = {}
        stored = {one.name: one for one in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "MatMul" and node.input[1] in stored:
                weight = node.input[1].removesuffix(TRANSPOSED)
                used.setdefault(node.input[0], []).append(weight)
        outputs = {one.name for one in model.graph.output}
        given = {one.name for one in model.graph.input}
        used = {value: one for value, one in used.items() if value not in outputs | given}
        for value in used:
            model.graph.output.append(helper.make_tensor_value_info(value, 1, None))
        self._inputs[path.stem] = used
        self._weights[path.stem] = {
            weight: weight_of(stored[weight + TRANSPOSED])
            for several in used.values()
            for weight in several
        }
        content: bytes = model.SerializeToString()
        return content


def _relative_error(values: np.ndarray[Any, Any], weight: np.ndarray[Any, Any]) -> float:
    """Median over rows of |integer product - product| / |product|."""
    rows = values.reshape(-1, values.shape[-1])
    lowest, highest = min(0.0, float(rows.min())), max(0.0, float(rows.max()))
    unit = (highest - lowest) / 255 or 1.0
    zero = np.rint(-lowest / unit)
    rounded = (np.clip(np.rint(rows / unit) + zero, 0, 255) - zero) * unit
    scale = np.maximum(np.abs(weight).max(axis=0), np.finfo(np.float32).tiny) / 127
    exact = rows @ weight
    lost = rounded @ (np.rint(weight / scale) * scale) - exact
    norms = np.linalg.norm(exact, axis=1)
    if not (norms > 0).any():
        return 0.0
    return float(np.median(np.linalg.norm(lost, axis=1)[norms > 0] / norms[norms > 0]))
