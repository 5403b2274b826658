"""Graphs of an export, or beside the weights of a model, as sessions of ONNX Runtime."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from keyframe_asr.errors import ModelError
from keyframe_asr.io.malloc import loading_weights
from keyframe_asr.io.model_location import GRAPH_SUFFIX, GRAPHS_FOLDER, has_graphs
from keyframe_asr.packages import silent_onnxruntime
from keyframe_asr.runtime.stored_weights import StoredWeights

FORMAT = "1"
"""Version of inputs, outputs and names of the graphs."""

FORMAT_KEY, SOURCE_KEY = "keyframe_asr.format", "keyframe_asr.source"
"""Properties of a graph: its version, and the SHA-256 of the weights that it comes from."""

OLDEST = (1, 22)
"""First version of ONNX Runtime that multiplies 8-bit weights in blocks on the CPU."""


class Sessions:
    """The graphs of a folder, loaded when they are first run.

    Args:
        folder: of an export, or of a model with graphs.
        threads: for one graph; None lets ONNX Runtime choose.

    Raises:
        ModelError: the weights of the model cannot be read.
        RecipeError: `config.yaml` contains an invalid key or value.
    """

    def __init__(self, folder: Path, threads: int | None = None) -> None:
        self.folder = folder / GRAPHS_FOLDER if has_graphs(folder) else folder
        self.weights = StoredWeights(folder) if has_graphs(folder) else None
        self.advice = "give a folder that keyframe export wrote"
        if self.weights is not None:
            self.advice = "write the graphs again with keyframe export MODEL"
        self.threads = threads
        self.source: str | None = None
        self._loaded: dict[str, Any] = {}

    def has(self, name: str) -> bool:
        """True if the folder has this graph."""
        return (self.folder / (name + GRAPH_SUFFIX)).is_file()

    def session(self, name: str) -> Any:
        """Return the session of a graph.

        Raises:
            ModelError: the graph is missing or damaged, is of another version or model, or this
                ONNX Runtime cannot run it.
        """
        if name not in self._loaded:
            with loading_weights():
                self._loaded[name] = self._load(self.folder / (name + GRAPH_SUFFIX))
        return self._loaded[name]

    def inputs(self, name: str) -> list[str]:
        """Names of the inputs of a graph."""
        return [one.name for one in self.session(name).get_inputs()]

    def run(self, name: str, **inputs: Any) -> list[Any]:
        """Run a graph on arrays; returns its outputs in order."""
        outputs: list[Any] = self.session(name).run(None, inputs)
        return outputs

    def _content(self, path: Path) -> str | bytes:
        if not path.is_file():
            raise ModelError(f"{path.parent}: contains no {path.name}; {self.advice}")
        return str(path)

    def _load(self, path: Path) -> Any:
        runtime = onnx_runtime()
        content, options = self._content(path), _options(runtime, self.threads)
        if self.weights is not None:
            constants = self.weights.constants(path.stem)
            values = [runtime.OrtValue.ortvalue_from_numpy(one) for one in constants.values()]
            options.add_external_initializers(list(constants), values)
        try:
            session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(
                f"{path}: cannot be loaded by onnxruntime {runtime.__version__} ({reason}); export "
                "the model again, or install a newer onnxruntime"
            ) from None
        properties = session.get_modelmeta().custom_metadata_map
        if (found := properties.get(FORMAT_KEY)) != FORMAT:
            written = "by no keyframe export" if found is None else f"in format {found}"
            raise ModelError(
                f"{path}: was written {written}, and this version reads format {FORMAT}; export "
                "the model again"
            )
        source = properties.get(SOURCE_KEY)
        if self.source not in (None, source):
            raise ModelError(
                f"{path}: comes from other weights than the other graphs; export the model again"
            )
        self.source = source
        return session


def onnx_runtime() -> Any:
    """Return the module `onnxruntime`. Raises `ModelError` if it is too old."""
    onnxruntime = silent_onnxruntime()
    version = tuple(int(part) for part in re.findall(r"\d+", onnxruntime.__version__)[:2])
    if version < OLDEST:
        raise ModelError(
            f"onnxruntime {onnxruntime.__version__} is too old for exported models; "
            f"pip install 'onnxruntime>={OLDEST[0]}.{OLDEST[1]}'"
        )
    return onnxruntime


def _options(runtime: Any, threads: int | None) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    # sizes differ from recording to recording: a plan of memory for each would only be kept
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # without VNNI, products of signed weights would be added in 16 bits, and saturate
    options.add_session_config_entry("session.x64quantprecision", "1")
    return options
