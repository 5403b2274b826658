"""Recognise a list of recordings with a model of this project, one by one or batched, and time it.

    python recognise_with_keyframes.py MODEL LIST --decode axe --threads 1 [--batched] --out FILE

What is written and what is timed: as in `recognise_with_whisper.py`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import torch

import keyframe_asr


def main() -> None:
    """Recognise, time, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("list", type=Path)
    parser.add_argument("--decode", required=True)
    parser.add_argument("--batched", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recognizer = keyframe_asr.load(given.model, "cpu")
    paths = given.list.read_text(encoding="utf-8").split("\n")
    recognizer.transcribe(paths[0], given.decode)
    started = time.perf_counter()
    if given.batched:
        texts = [one.text for one in recognizer.transcribe_batch(paths, given.decode)]
    else:
        texts = [recognizer.transcribe(path, given.decode).text for path in paths]
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found = {"texts": texts, "seconds": seconds, "peak_megabytes": memory}
    given.out.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
