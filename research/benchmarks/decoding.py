"""Measure the real-time factor of every decode mode at several beam widths and batch sizes.

    python -m research.benchmarks.decoding MODEL MANIFEST [--beams 1 4 10] [--batches 1 8 32]
        [--rounds 5] [--limit 64] [--threads 1] [--device cpu] [--json FILE]

Values are medians over rounds, each of which runs every batch size, mode and width. The real-time
factor of a mode includes the encoding; `decoding` is the search alone. A beam of 1 is greedy in axe
and ctc.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch

from keyframe_asr.data.manifest import audio_path, load_manifest
from keyframe_asr.evaluation.report import machine
from keyframe_asr.inference.batch_recognizer import read_recording
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer, load
from keyframe_asr.timing import SAMPLE_RATE
from research.benchmarks.timing import argument_parser, show


@dataclass
class Times:
    """Seconds of one batch size, one value per round."""

    encoding: list[float] = field(default_factory=list)
    decoding: dict[tuple[str, int], list[float]] = field(default_factory=dict)


def measure(
    recognizer: Recognizer,
    batches: Sequence[Sequence[np.ndarray]],
    beams: Sequence[int],
    times: Times,
) -> None:
    """Run one round: encode once, then decode in every mode and width."""
    start = time.perf_counter()
    encoded = [recognizer.encode(batch) for batch in batches]
    times.encoding.append(time.perf_counter() - start)
    for mode in recognizer.modes:
        for beam in beams:
            options = RecognitionOptions(mode, beam=beam)
            start = time.perf_counter()
            for one in encoded:
                recognizer.decode(one, options)
            taken = time.perf_counter() - start
            times.decoding.setdefault((mode, beam), []).append(taken)


def described(times: Times, audio: float) -> dict[str, Any]:
    """Return medians in seconds per second of audio, and the encoding of each round."""
    encoding = statistics.median(times.encoding)
    return {
        "encoding": round(encoding / audio, 6),
        "encoding_rounds": [round(one / audio, 6) for one in times.encoding],
        "modes": [
            {
                "mode": mode,
                "beam": beam,
                "rtf": round((encoding + statistics.median(taken)) / audio, 6),
                "decoding": round(statistics.median(taken) / audio, 6),
            }
            for (mode, beam), taken in times.decoding.items()
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4, 10])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    recognizer = load(given.model, given.device)
    cuts = islice(load_manifest(given.manifest), given.limit)
    samples = sorted((read_recording(audio_path(cut)) for cut in cuts), key=len)
    audio = sum(map(len, samples)) / SAMPLE_RATE
    times = {size: Times() for size in given.batches}
    for number in range(-1, given.rounds):
        if number == 0:  # the previous round was the warm-up
            times = {size: Times() for size in given.batches}
        for size, taken in times.items():
            batches = [samples[at : at + size] for at in range(0, len(samples), size)]
            measure(recognizer, batches, given.beams, taken)
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr)
    result = {
        "machine": machine(recognizer.device_name),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "model": given.model,
        "utterances": len(samples),
        "audio_seconds": round(audio, 1),
        "rounds": given.rounds,
        "batches": {str(size): described(taken, audio) for size, taken in times.items()},
    }
    show(result, given.json)


if __name__ == "__main__":
    main()
