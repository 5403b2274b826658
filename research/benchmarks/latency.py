"""Errors and latency of one model that streams, by the size of its chunks.

    python -m research.benchmarks.latency MODEL MANIFEST [--chunks 1 2 4 8 16]
        [--look-ahead 0] [--keep first] [--json FILE]

The manifest has word times: a synthetic corpus, or cuts of `keyframe align MODEL MANIFEST --out
DIR`. What is measured, and how, is that of the study `latency` (research/latency/streams.py).
`--keep` chooses keyframes by another rule than the one that the model was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.evaluation.report import machine
from keyframe_asr.io.model_folder import find_model, load_model_folder
from keyframe_asr.timing import encoder_frame_seconds
from research.benchmarks.timing import argument_parser, show
from research.latency.streams import HEADS, in_chunks, speech_of, whole
from research.significance import difference, rate_interval


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--chunks", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--look-ahead", type=int, default=0)
    parser.add_argument("--keep", choices=("peak", "first"))
    given = parser.parse_args(arguments)
    model = load_model_folder(find_model(given.model))
    if given.keep is not None:
        model.network.policy = replace(model.network.policy, keep=given.keep)
    speech = speech_of(model, list(load_manifest(given.manifest)))
    lengths = [len(one.words) for one in speech]
    frame = encoder_frame_seconds(model.config.model.subsampling.factor)
    offline = whole(model, speech)
    report: dict[str, Any] = {"recordings": len(speech), "unit": model.config.text_form.unit}
    report["look-ahead"] = f"{round(1000 * given.look_ahead * frame)} ms"
    report["whole"] = {head: rate_interval([offline[head]["errors"]], lengths) for head in HEADS}
    for size in given.chunks:
        found = in_chunks(model, speech, size, given.look_ahead)
        for head in HEADS:
            errors, reference = [found[head].pop("errors")], [offline[head]["errors"]]
            minus = difference(errors, reference, lengths)
            found[head]["error"] = rate_interval(errors, lengths)
            found[head]["minus whole"] = [minus.value, minus.low, minus.high]
        report[f"{round(1000 * size * frame)} ms"] = found
    show(report | {"machine": machine("cpu")}, given.json)


if __name__ == "__main__":
    main()
