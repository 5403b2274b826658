"""Compare the inter-CTC, halfway up the network, with the head at the top, decoded greedily.

    python -m research.benchmarks.inter_ctc MANIFEST --all-frames MODEL... --keyframes MODEL...
        [--json research/benchmarks/inter_ctc_an4.json]

Several models of a kind are trainings of one system. Mode `ctc` of a model that keeps all frames is
its final CTC; its inter-CTC is decoded here by switching keyframes on, which does not change the
layers below. Differences are tested by a paired bootstrap over utterances and trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.evaluation.report import machine
from keyframe_asr.inference.recognizer import load
from keyframe_asr.inference.torch_network import module_of
from keyframe_asr.io.model_folder import find_model
from research.benchmarks.timing import argument_parser, show
from research.recognition import recognise
from research.significance import Difference, difference, rate_interval

Errors = list[list[int]]


def measure(models: list[str], manifest: str) -> tuple[dict[str, Errors], list[int]]:
    """Return errors of each model on each utterance, by head, and lengths of the utterances."""
    cuts = list(load_manifest(manifest))
    recordings, references = [read_samples(cut) for cut in cuts], [text(cut) for cut in cuts]
    found: dict[str, Errors] = {"top": [], "inter-CTC": []}
    lengths: list[int] = []
    for model in models:
        recognizer = load(find_model(model), "cpu", backend="torch")
        network = module_of(recognizer.network)
        top = recognizer.modes[0]
        result = recognise(recognizer, recordings, references, [top])
        found["top"].append(result["decode"][top]["errors"])
        network.keyframes_enabled = True
        result = recognise(recognizer, recordings, references, ["ctc"])
        found["inter-CTC"].append(result["decode"]["ctc"]["errors"])
        lengths = result["lengths"]
    return found, lengths


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("manifest")
    parser.add_argument("--all-frames", nargs="+", required=True)
    parser.add_argument("--keyframes", nargs="+", required=True)
    given = parser.parse_args(arguments)
    every, lengths = measure(given.all_frames, given.manifest)
    kept, _ = measure(given.keyframes, given.manifest)

    def rates(errors: Errors) -> dict[str, Any]:
        value, low, high = rate_interval(errors, lengths)
        each = [round(sum(one) / sum(lengths), 4) for one in errors]
        return {"trainings": each, "rate": round(value, 4), "ci95": [round(low, 4), round(high, 4)]}

    def less(first: Errors, second: Errors) -> list[float]:
        found: Difference = difference(first, second, lengths)
        return [round(100 * one, 2) for one in (found.value, found.low, found.high)]

    result = {
        "machine": machine("cpu"),
        "manifest": given.manifest,
        "all frames": {head: rates(errors) for head, errors in every.items()},
        "keyframes": {head: rates(errors) for head, errors in kept.items()},
        "points (95 %)": {
            "all frames: CTC less inter-CTC": less(every["top"], every["inter-CTC"]),
            "keyframes: length head less inter-CTC": less(kept["top"], kept["inter-CTC"]),
            "inter-CTC: keyframes less all frames": less(kept["inter-CTC"], every["inter-CTC"]),
            "keyframes' length head less all frames' inter-CTC": less(
                kept["top"], every["inter-CTC"]
            ),
        },
    }
    show(result, given.json)


if __name__ == "__main__":
    main()
