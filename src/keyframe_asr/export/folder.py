"""Write the folder of an exported model.

It holds the graphs, `config.yaml` with calibration and the way of decoding, tokenizers, the
language model, and a card. The same model and the same versions give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING

from keyframe_asr.errors import ModelError
from keyframe_asr.export.graphs import graphs_of
from keyframe_asr.export.integers import Scheme, with_integers
from keyframe_asr.export.precision import schemes_of
from keyframe_asr.export.shared_weights import give_weights, take_weights, with_distinct_weights
from keyframe_asr.export.tracing import OPSET, Graph, described, serialised, traced
from keyframe_asr.io.atomic_write import replacing_folder
from keyframe_asr.io.model_folder import (
    CARD_FILE,
    StoredModel,
    load_model_folder,
    save_model_config,
)
from keyframe_asr.io.model_location import (
    GRAPH_SUFFIX,
    GRAPHS_FOLDER,
    WEIGHTS_FILE,
    WEIGHTS_OF_GRAPHS,
    architecture_digest,
)
from keyframe_asr.packages import EXTRAS, missing
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
    """Export a model folder to one that needs neither the model nor torch.

    Args:
        source: folder of the model.
        folder: to write.
        integers: store matrices as integers of 8 bits.
        progress: called with what is done next.

    Raises:
        PackageError: a package is missing.
        ModelError: the model cannot be read, or the folder exists or cannot
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
        properties = {FORMAT_KEY: FORMAT, SOURCE_KEY: digest}
        graphs = _traced(graphs_of(model.network), properties, progress)
        schemes = _schemes(graphs, written, model, progress) if integers else {}
        for name, graph in graphs.items():
            with_integers(graph, schemes.get(name, {}))
        exported = Exported(_written(graphs, written), schemes)
        source_line = f"From weights with the SHA-256 `{digest}`"
        (written / CARD_FILE).write_text(_card(model, source_line, exported), encoding="utf-8")
    return exported


def add_graphs(
    folder: Path,
    *,
    integers: bool = False,
    progress: Callable[[str], None] = lambda doing: None,
) -> Exported:
    """Add graphs to a model folder, which then runs without torch, too.

    They hold no weights: those of the folder, and of its base models, are read when they are
    loaded. Earlier graphs are replaced.

    Args:
        folder: of the model.
        integers: multiply matrices as integers of 8 bits.
        progress: called with what is done next.

    Raises:
        PackageError: a package is missing.
        ModelError: the model cannot be read, or the graphs cannot be written.
        RecipeError: the model's `config.yaml` is not valid.
    """
    check_packages()
    model = load_model_folder(folder)
    if model.config.model.pretrained is not None and len(model.config.model.pretrained.layers) > 1:
        raise ModelError(
            f"{folder}: sums several layers of its pretrained encoder, and the exporter computes "
            "their shares, so the graphs cannot share its weights; give --out"
        )
    distinct = with_distinct_weights(model.network)
    sources = graphs_of(distinct)
    constants: dict[str, dict[str, tuple[str, str]]] = {}
    with replacing_folder(folder / GRAPHS_FOLDER, "use --out", ModelError) as written:
        graphs = _traced(sources, {FORMAT_KEY: FORMAT}, progress)
        schemes: dict[str, dict[str, Scheme]] = {}
        if integers:
            for name, graph in graphs.items():
                give_weights(graph, sources[name].module, distinct, model.network)
            with tempfile.TemporaryDirectory(dir=written) as whole:
                schemes = _schemes(graphs, Path(whole), model, progress)
        for name, graph in graphs.items():
            with_integers(graph, schemes.get(name, {}))
            constants[name] = take_weights(graph, sources[name].module, distinct)
        exported = Exported(_written(graphs, written), schemes)
        described_all = {"architecture": architecture_digest(model.config), "graphs": constants}
        table = json.dumps(described_all, indent=1, sort_keys=True)
        (written / WEIGHTS_OF_GRAPHS).write_text(table + "\n", encoding="utf-8")
        card = _card(model, f"Without weights: those of `{WEIGHTS_FILE}` are used", exported)
        (written / CARD_FILE).write_text(card, encoding="utf-8")
    return exported


def _traced(
    graphs: dict[str, Graph],
    properties: dict[str, str],
    progress: Callable[[str], None],
) -> dict[str, onnx.ModelProto]:
    found = {}
    for name, graph in graphs.items():
        progress(f"exporting {name}")
        found[name] = traced(graph)
        described(found[name], properties)
    return found


def _schemes(
    graphs: dict[str, onnx.ModelProto],
    folder: Path,
    model: StoredModel,
    progress: Callable[[str], None],
) -> dict[str, dict[str, Scheme]]:
    """How integers are stored; the graphs are written to `folder` in float32 to be run."""
    progress("measuring what integers change")
    _written(graphs, folder)
    return schemes_of(graphs, folder, model.config)


def _written(graphs: dict[str, onnx.ModelProto], folder: Path) -> dict[str, int]:
    """Write graphs; returns their sizes in bytes."""
    sizes = {}
    for name, graph in graphs.items():
        sizes[name] = (folder / (name + GRAPH_SUFFIX)).write_bytes(serialised(graph))
    return sizes


def check_packages() -> None:
    """Raise an error before the work if a package that exporting needs is missing or too old.

    Raises:
        PackageError: it is missing.
        ModelError: it is too old.
    """
    for name in EXTRAS["export"]:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            raise missing(name, "exporting") from None
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


def _card(model: StoredModel, source: str, exported: Exported) -> str:
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
        f"- {source}.",
        f"- Format {FORMAT}, opset {OPSET}; written with {versions}.",
    ]
    if exported.in_blocks:
        several = ", ".join(f"`{name}`" for name in exported.in_blocks)
        lines.append(
            f"- Activations in blocks of their own, because of a few large ones: {several}."
        )
    lines += ["", "| graph | MB |", "|---|---|"]
    lines += [
        f"| `{name}{GRAPH_SUFFIX}` | {size / 1e6:.2f} |" for name, size in exported.sizes.items()
    ]
    return "\n".join([*lines, ""])
