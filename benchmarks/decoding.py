"""Real-time factor of every decode mode at several beam widths, alone and in a batch.

    python benchmarks/decoding.py MODEL MANIFEST [--beams 1 4 10] [--limit 64] [--device cpu]
                                  [--json benchmarks/decoding.json]

The encoding is timed once and charged to every mode, as a user waits for it too; `decoding` is what
the search itself takes. A beam of 1 is greedy in axe and ctc.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from keyframe_asr.data.manifest import audio_path, load_manifest
from keyframe_asr.decoding.beam import BeamConfig
from keyframe_asr.evaluation.report import machine
from keyframe_asr.inference.loading import load
from keyframe_asr.inference.modes import DecodeOptions
from keyframe_asr.inference.recognizer import Recognizer, read_recording


def measure(
    recognizer: Recognizer, batches: Sequence[Sequence[np.ndarray]], beams: Sequence[int]
) -> list[dict[str, Any]]:
    """Seconds of computing per second of audio, for every mode and width."""
    recognizer.decode(recognizer.encode(batches[0]), recognizer.modes[0])  # sets things up
    start = time.perf_counter()
    encoded = [recognizer.encode(batch) for batch in batches]
    encoding = time.perf_counter() - start
    audio = sum(seconds for one in encoded for seconds in one.seconds)
    rows = []
    for mode in recognizer.modes:
        for beam in beams:
            options = DecodeOptions(BeamConfig(beam), first_pass_beam=beam)
            recognizer.decode(encoded[0], mode, options)
            start = time.perf_counter()
            for one in encoded:
                recognizer.decode(one, mode, options)
            decoding = time.perf_counter() - start
            rows.append(
                {
                    "mode": mode,
                    "beam": beam,
                    "rtf": round((encoding + decoding) / audio, 6),
                    "decoding": round(decoding / audio, 6),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4, 10])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    recognizer = load(arguments.model, arguments.device)
    cuts = islice(load_manifest(arguments.manifest), arguments.limit)
    read = [read_recording(audio_path(cut)) for cut in cuts]
    samples = sorted((one for one in read if isinstance(one, np.ndarray)), key=len)
    size = arguments.batch
    result = {
        "machine": machine(recognizer.device_name),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "model": arguments.model,
        "utterances": len(samples),
        "audio_seconds": round(sum(map(len, samples)) / 16_000, 1),
        "alone": measure(recognizer, [[one] for one in samples], arguments.beams),
        "batch": size,
        "batched": measure(
            recognizer,
            [samples[at : at + size] for at in range(0, len(samples), size)],
            arguments.beams,
        ),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        temporary = arguments.json.with_suffix(".tmp")
        temporary.write_text(text + "\n", encoding="utf-8")
        os.replace(temporary, arguments.json)


if __name__ == "__main__":
    main()
