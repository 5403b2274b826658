"""Errors of a model that streams, by the size of its chunks, beside the whole recording.

    python -m research.benchmarks.chunks MODEL MANIFEST [--chunks 1 2 4 8 16] [--left 16]
        [--twin MODEL] [--json FILE]

Both heads are decoded greedily. A frame waits for the end of its chunk, so the look-ahead is
at most the chunk. `--twin` is a model of equal training that cannot stream. Every recording is
also streamed in blocks of 80 ms, with the first size of chunk; texts that differ from those of the
whole recording with the same chunks are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from kaldialign import edit_distance
from torch import Tensor

from keyframe_asr.audio.features import front_end
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.decoding.greedy import greedy_aligned, greedy_ctc
from keyframe_asr.evaluation.metrics import split_units
from keyframe_asr.evaluation.report import machine
from keyframe_asr.io.model_folder import StoredModel, find_model, load_model_folder
from keyframe_asr.model.chunks import Chunks
from keyframe_asr.model.streaming import StreamingNetwork
from keyframe_asr.streams.state import FeatureOutput, Floats
from keyframe_asr.text.forms import normaliser
from keyframe_asr.timing import encoder_frame_seconds
from research.benchmarks.timing import argument_parser, show
from research.significance import difference, rate_interval

BLOCK_FRAMES = 8
"""Features that a stream gets at a time: 80 ms."""

Texts = dict[str, list[str]]


def heard(model: StoredModel, features: Sequence[Tensor], chunk: int | None, left: int) -> Texts:
    """What both heads write of each recording; `chunk` None: they see all of it."""
    found: Texts = {"inter-CTC": [], "length head": []}
    for one in features:
        chunks = None if chunk is None else Chunks.of([(chunk, left)])
        with torch.inference_mode():
            encoded = model.network.encode(one[None], torch.tensor([len(one)]), chunks=chunks)
        inter, head = encoded.inter_log_probs.numpy(), encoded.head_log_probs.numpy()
        _add(found, model, inter, head)
    return found


def streamed(model: StoredModel, features: Sequence[Tensor], chunk: int, left: int) -> Texts:
    """What both heads write of each recording as a stream."""
    stream = StreamingNetwork(model.network, chunk, left, look_ahead=0)
    found: Texts = {"inter-CTC": [], "length head": []}
    for one in features:
        state, outputs = stream.start(), []
        blocks = one.split(BLOCK_FRAMES)
        for number, block in enumerate(blocks):
            last = number == len(blocks) - 1
            state, output = stream.step_one(state, block.numpy(), last=last)
            outputs.append(output)
        whole = FeatureOutput.joined(outputs)
        _add(found, model, whole.inter_log_probs[None], whole.head_log_probs[None])
    return found


def _add(found: Texts, model: StoredModel, inter: Floats, head: Floats) -> None:
    for name, log_probs, decode in (
        ("inter-CTC", inter, greedy_ctc),
        ("length head", head, greedy_aligned),
    ):
        (best,) = decode(log_probs, np.array([log_probs.shape[1]]))
        found[name].append(model.tokenizer.decode(best.tokens))


class Scored:
    """Errors of texts against the references of a manifest."""

    def __init__(self, model: StoredModel, references: Sequence[str]) -> None:
        self.form = model.config.text_form
        normalise = normaliser(self.form)
        self.references = [split_units(normalise(one), self.form) for one in references]
        self.lengths = [len(one) for one in self.references]

    def errors(self, texts: Sequence[str]) -> list[list[int]]:
        """Errors of each utterance, as a list of one training."""
        hypotheses = (split_units(one, self.form) for one in texts)
        pairs = zip(self.references, hypotheses, strict=True)
        return [[edit_distance(reference, found)["total"] for reference, found in pairs]]

    def row(self, texts: Sequence[str], reference: Sequence[str] | None) -> dict[str, Any]:
        """Error rate with its interval, and minus that of other texts."""
        value, low, high = rate_interval(self.errors(texts), self.lengths)
        row: dict[str, Any] = {"error": value, "ci95": [low, high]}
        if reference is not None:
            found = difference(self.errors(texts), self.errors(reference), self.lengths)
            row["minus whole"] = [found.value, found.low, found.high]
        return row


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--chunks", nargs="+", type=int, default=[4, 1, 2, 8, 16])
    parser.add_argument("--left", type=int, default=16)
    parser.add_argument("--twin")
    given = parser.parse_args(arguments)
    model = load_model_folder(find_model(given.model))
    compute = front_end(model.config.features, None)
    cuts = list(load_manifest(given.manifest))
    features = [torch.from_numpy(compute(read_samples(cut))) for cut in cuts]
    scored = Scored(model, [text(cut) for cut in cuts])
    frame = encoder_frame_seconds(model.config.model.subsampling.factor)
    whole = heard(model, features, None, given.left)
    rows = {"whole": {head: scored.row(texts, None) for head, texts in whole.items()}}
    simulated = {size: heard(model, features, size, given.left) for size in given.chunks}
    for size, texts in simulated.items():
        name = f"{round(1000 * size * frame)} ms"
        rows[name] = {head: scored.row(texts[head], whole[head]) for head in texts}
    if given.twin is not None:
        twin = load_model_folder(find_model(given.twin))
        compute = front_end(twin.config.features, None)
        own = [torch.from_numpy(compute(read_samples(cut))) for cut in cuts]
        found = heard(twin, own, None, given.left)
        rows["twin, whole"] = {head: scored.row(found[head], whole[head]) for head in found}
    first = given.chunks[0]
    live = streamed(model, features, first, given.left)
    unlike = {
        head: sum(
            one != other for one, other in zip(live[head], simulated[first][head], strict=True)
        )
        for head in live
    }
    report = {"recordings": len(cuts), "unit": scored.form.unit, "left": given.left, "errors": rows}
    show(
        report | {"streamed texts unlike simulated": unlike, "machine": machine("cpu")}, given.json
    )


if __name__ == "__main__":
    main()
