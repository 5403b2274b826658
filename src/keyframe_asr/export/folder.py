"""Write the folder of an exported model.

It holds the graphs, `config.yaml` with calibration and the way of decoding, tokenizers, the
language model, and a card. The same model and the same versions give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING

from keyframe_asr.errors import ModelError
from keyframe_asr.export.graphs import graphs_of
from keyframe_asr.export.integers import Scheme, with_integers
from keyframe_asr.export.precision import schemes_of
from keyframe_asr.export.tracing import OPSET, described, serialised, traced
from keyframe_asr.io.atomic_write import replacing_folder
from keyframe_asr.io.model_folder import (
    CARD_FILE,
    StoredModel,
    load_model_folder,
    save_model_config,
)
from keyframe_asr.io.model_location import GRAPH_SUFFIX
from keyframe_asr.runtime.sessions import FORMAT, FORMAT_KEY, SOURCE_KEY, onnx_runtime
from keyframe_asr.text.decoder_tokenizer import DECODER_TOKENIZER_FILE

if TYPE_CHECKING:
    import onnx

VERSIONS = ("keyframe-asr", "torch", "onnx", "onnxscript", "onnxruntime")
"""Packages whose versions decide about the bytes of an export."""


@dataclass(frozen=True)
class Exported:
    """What an export has written.

    Attributes:
        sizes: bytes of each graph.
        schemes: how the weights of each graph that are integers are stored; none in float32.
    """

    sizes: dict[str, int]
    schemes: dict[str, dict[str, Scheme]]

    @property
    def in_blocks(self) -> list[str]:
        """Weights of the encoders whose activations get a scale for every block."""
        return [
            weight
            for name, weights in self.schemes.items()
            for weight, scheme in weights.items()
            if scheme == "blocks" and not name.startswith("decoder")
        ]


def export_model(
    source: Path,
    folder: Path,
    *,
    integers: bool = False,
    progress: Callable[[str], None] = lambda doing: None,
) -> Exported:
    """Export a model folder.

    Args:
        source: folder of the model.
        folder: to write.
        integers: store matrices as integers of 8 bits.
        progress: called with what is done next.

    Raises:
        ModelError: a package is missing, the model cannot be read, or the folder exists or cannot
            be written.
        RecipeError: the model's `config.yaml` is not valid.
    """
    check_packages()
    if folder.exists():
        raise ModelError(f"{folder}: already exists; remove it, or choose another path")
    model = load_model_folder(source)
    digest = weights_digest(model)
    with replacing_folder(folder, "choose another path", ModelError) as written:
        _write_companions(model, written)
        graphs: dict[str, onnx.ModelProto] = {}
        for name, graph in graphs_of(model.network).items():
            progress(f"exporting {name}")
            graphs[name] = traced(graph)
            described(graphs[name], {FORMAT_KEY: FORMAT, SOURCE_KEY: digest})
            (written / (name + GRAPH_SUFFIX)).write_bytes(serialised(graphs[name]))
        schemes: dict[str, dict[str, Scheme]] = {}
        if integers:
            progress("measuring what integers change")
            schemes = schemes_of(graphs, written, model.config)
            for name, one in graphs.items():
                with_integers(one, schemes[name])
                (written / (name + GRAPH_SUFFIX)).write_bytes(serialised(one))
        sizes = {name: (written / (name + GRAPH_SUFFIX)).stat().st_size for name in graphs}
        exported = Exported(sizes, schemes)
        (written / CARD_FILE).write_text(_card(model, digest, exported), encoding="utf-8")
    return exported


def check_packages() -> None:
    """Raise `ModelError` if a package that exporting needs is missing."""
    for name in ("onnx", "onnxscript"):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            raise ModelError(
                f"exporting needs {name}, which is not installed; "
                "pip install 'keyframe-asr[export]'"
            ) from None
    onnx_runtime()


def weights_digest(model: StoredModel) -> str:
    """SHA-256 of all weights of a model, those of its base included."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _write_companions(model: StoredModel, folder: Path) -> None:
    save_model_config(folder, model.config.model_copy(update={"base": None}))
    (folder / model.tokenizer.file_name).write_bytes(model.tokenizer.content())
    if model.decoder_tokenizer is not None:
        (folder / DECODER_TOKENIZER_FILE).write_bytes(model.decoder_tokenizer.content())
    if model.language_model is not None:
        (folder / model.language_model.name).write_bytes(model.language_model.read_bytes())


def _version(package: str) -> str:
    # onnxruntime is also in packages of other names, such as onnxruntime-gpu
    return str(import_module(package.replace("-", "_")).__version__)


def _card(model: StoredModel, digest: str, exported: Exported) -> str:
    versions = ", ".join(f"{name} {_version(name)}" for name in VERSIONS)
    precision = "float32"
    if exported.schemes:
        precision = "8-bit integers for matrices, float32 for all else"
    lines = [
        f"# {model.config.name}, exported to ONNX",
        "",
        f"The model `{model.config.name}` ({model.config.language}) as graphs for ONNX Runtime, "
        "without torch.",
        "",
        f"- Weights: {precision}.",
        f"- From weights with the SHA-256 `{digest}`.",
        f"- Format {FORMAT}, opset {OPSET}; written with {versions}.",
    ]
    if exported.in_blocks:
        several = ", ".join(f"`{name}`" for name in exported.in_blocks)
        lines.append(
            f"- Activations in blocks of their own, because of a few large ones: {several}."
        )
    lines += ["", "| graph | MB |", "|---|---|"]
    lines += [
        f"| `{name}{GRAPH_SUFFIX}` | {size / 1e6:.1f} |" for name, size in exported.sizes.items()
    ]
    return "\n".join([*lines, ""])
