"""Write a model for sherpa-onnx, and compare what it hears there.

The folder holds `model.onnx` (`export.sherpa_graph`), `tokens.txt` and a card. It recognises with
the inter-CTC alone; keyframes, length head, decoder and language model are left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from keyframe_asr.audio.features import front_end
from keyframe_asr.audio.reading import Samples
from keyframe_asr.decoding.greedy import greedy_ctc
from keyframe_asr.errors import ModelError
from keyframe_asr.export.folder import check_packages, weights_digest
from keyframe_asr.export.graphs import graphs_of
from keyframe_asr.export.integers import matrices_of, with_integers
from keyframe_asr.export.precision import schemes_of
from keyframe_asr.export.sherpa_graph import SherpaGraph
from keyframe_asr.export.tracing import Graph, described, serialised, traced
from keyframe_asr.io.atomic_write import replacing_folder
from keyframe_asr.io.model_folder import StoredModel, load_model_folder
from keyframe_asr.io.model_location import CARD_FILE, GRAPH_SUFFIX
from keyframe_asr.packages import packages_for
from keyframe_asr.runtime.sessions import FORMAT, FORMAT_KEY, SOURCE_KEY
from keyframe_asr.text.tokenizer import BLANK, UNKNOWN, UNKNOWN_TEXT, Tokenizer
from keyframe_asr.timing import SAMPLE_RATE

if TYPE_CHECKING:
    import onnx

MODEL_FILE, TOKENS_FILE = "model.onnx", "tokens.txt"

_TRACED_SAMPLES = 24_000


def export_for_sherpa(
    source: Path,
    folder: Path,
    *,
    integers: bool = False,
    progress: Callable[[str], None] = lambda doing: None,
) -> None:
    """Write a model folder for sherpa-onnx.

    Args:
        source: folder of the model.
        folder: to write.
        integers: store matrices as integers of 8 bits.
        progress: called with what is done next.

    Raises:
        ModelError: the model needs what sherpa-onnx does not do, a package is missing, or the
            folder exists or cannot be written.
        RecipeError: the model's `config.yaml` is not valid.
    """
    check_packages()
    if folder.exists():
        raise ModelError(f"{folder}: already exists; remove it, or choose another path")
    model = load_model_folder(source)
    level = _level_of(model, source)
    with replacing_folder(folder, "choose another path", ModelError) as written:
        progress("exporting model")
        graph = traced(_graph(model, level))
        digest = weights_digest(model)
        described(graph, {SOURCE_KEY: digest})
        if integers:
            progress("measuring what integers change")
            _store_integers(graph, model)
        (written / MODEL_FILE).write_bytes(serialised(graph))
        lines = [f"{symbol} {place}\n" for place, symbol in enumerate(symbols_of(model.tokenizer))]
        (written / TOKENS_FILE).write_text("".join(lines), encoding="utf-8")
        card = _card(model, digest, folder, integers=integers)
        (written / CARD_FILE).write_text(card, encoding="utf-8")


def symbols_of(tokenizer: Tokenizer) -> list[str]:
    """The symbols of `tokens.txt`, in the order of their ids."""
    special = {BLANK: "<blk>", UNKNOWN: UNKNOWN_TEXT}
    pieces = (special.get(one) or tokenizer.piece(one) for one in range(tokenizer.vocab_size))
    return [piece.replace(" ", "▁") for piece in pieces]


def sherpa_onnx() -> Any:
    """Return the module `sherpa_onnx`. Raises `PackageError` if it is missing."""
    with packages_for("the comparison"):
        import sherpa_onnx
    return sherpa_onnx


def heard_by_both(
    model: StoredModel, folder: Path, recordings: Iterable[Samples]
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield the symbols of each recording (S,): greedy inter-CTC of the model, and sherpa-onnx.

    Args:
        model: with float weights.
        folder: that `export_for_sherpa` wrote from it.
        recordings: samples at 16 kHz.

    Raises:
        PackageError: sherpa-onnx is missing.
    """
    recognizer = sherpa_onnx().OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(folder / MODEL_FILE), tokens=str(folder / TOKENS_FILE), num_threads=1
    )
    compute = front_end(model.config.features, None)
    symbols = [one.replace("▁", " ") for one in symbols_of(model.tokenizer)]
    for samples in recordings:
        features = torch.from_numpy(compute(samples))[None]
        with torch.inference_mode():
            _, lengths, log_probs = model.network.lower(features, torch.tensor([features.size(1)]))
        (ours,) = greedy_ctc(log_probs.numpy(), lengths.numpy())
        stream = recognizer.create_stream()
        stream.accept_waveform(SAMPLE_RATE, np.ascontiguousarray(samples, dtype=np.float32))
        recognizer.decode_stream(stream)
        yield [symbols[token] for token in ours.tokens], list(stream.result.tokens)


def _level_of(model: StoredModel, source: Path) -> float:
    """The level of a model that sherpa-onnx can run. Raises `ModelError` if it cannot."""
    level = model.config.features.level
    if model.config.model.pretrained is not None:
        raise ModelError(
            f"{source}: has a pretrained encoder, and models for sherpa-onnx have fbank of their "
            "own; export it without --for, or give another model"
        )
    if level is None:
        raise ModelError(
            f"{source}: features.level is null, and sherpa-onnx changes the level of recordings; "
            "export it without --for, or give another model"
        )
    return level


def _graph(model: StoredModel, level: float) -> Graph:
    samples = torch.randn(1, _TRACED_SAMPLES, generator=torch.Generator().manual_seed(1))
    module = SherpaGraph(model.network, model.config.features.num_mel_bins, level)
    return Graph(module, {"samples": samples}, {"samples": (0,)}, ("log_probs",))


def _store_integers(graph: onnx.ModelProto, model: StoredModel) -> None:
    """Store the matrices as the usual export of the model does."""
    usual = graphs_of(model.network)
    graphs = {name: traced(usual[name]) for name in ("encoder", "keyframes")}
    with tempfile.TemporaryDirectory() as folder:
        for name, one in graphs.items():
            described(one, {FORMAT_KEY: FORMAT})
            (Path(folder) / (name + GRAPH_SUFFIX)).write_bytes(serialised(one))
        schemes = schemes_of(graphs, Path(folder), model.config)["encoder"]
    with_integers(graph, {name: schemes[name] for name in matrices_of(graph)})


def _card(model: StoredModel, digest: str, folder: Path, *, integers: bool) -> str:
    config = model.config
    precision = "8-bit integers for matrices, float32 for all else" if integers else "float32"
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("keyframe-asr", "torch", "onnx", "onnxscript")
    )
    model_path, tokens_path = f"{folder.name}/{MODEL_FILE}", f"{folder.name}/{TOKENS_FILE}"
    delay = config.emission_delay_seconds
    later = f", {delay:g} s after its start (median)" if delay > 0 else ""
    return f"""# {config.name}, for sherpa-onnx

The model `{config.name}` ({config.language}) for [sherpa-onnx](https://github.com/k2-fsa/sherpa-onnx),
as a model of the kind `omnilingual`, which takes samples:

```python
import sherpa_onnx

recognizer = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
    model="{model_path}", tokens="{tokens_path}", num_threads=1
)
stream = recognizer.create_stream()
stream.accept_waveform(16000, samples)  # float32 in [-1, 1], mono
recognizer.decode_stream(stream)
print(stream.result.text, stream.result.timestamps)
```

```console
$ sherpa-onnx-offline --omnilingual-asr-model={model_path} --tokens={tokens_path} speech.wav
```

- Weights: {precision}.
- From weights with the SHA-256 `{digest}`.
- Written with {versions}.

It recognises with the inter-CTC, greedily, and in float32 with the tokens that `keyframe_asr` gets
from it. There are no keyframes, no length head, no decoder, no language model, no hot words and no
confidences, so there may be more errors than with `keyframe transcribe`. The time of a token is
that at which the network hears it{later}.

A recording is recognised in one piece: divide those of more than half a minute with the voice
activity detection of sherpa-onnx. Recordings of less than 0.2 s may get other tokens.
"""
