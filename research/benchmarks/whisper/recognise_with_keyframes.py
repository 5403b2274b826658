"""Recognise a list of recordings with a model of this project, one by one or batched, and time it.

    python -m research.benchmarks.whisper.recognise_with_keyframes MODEL LIST --decode axe
        --threads 1 [--batched] --out FILE [--language-model FILE.arpa --weight 0.5 --token-bonus 1]

Output and timing are as in `recognise_with_whisper.py`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

import keyframe_asr
from keyframe_asr import RecognitionOptions
from research.benchmarks.timing import peak_megabytes


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("list", type=Path)
    parser.add_argument("--decode", required=True)
    parser.add_argument("--batched", action="store_true")
    parser.add_argument("--language-model", type=Path)
    parser.add_argument("--weight", type=float, default=0.5)
    parser.add_argument("--token-bonus", type=float, default=1.0)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    recognizer = keyframe_asr.load(given.model, "cpu")
    options = RecognitionOptions(
        decode=given.decode,
        language_model=given.language_model,
        language_model_weight=given.weight,
        token_bonus=given.token_bonus if given.language_model else 0.0,
    )
    paths = given.list.read_text(encoding="utf-8").split("\n")
    recognizer.transcribe(paths[0], options)
    started = time.perf_counter()
    if given.batched:
        texts = [one.text for one in recognizer.transcribe_batch(paths, options)]
    else:
        texts = [recognizer.transcribe(path, options).text for path in paths]
    seconds = time.perf_counter() - started
    found = {"texts": texts, "seconds": seconds, "peak_megabytes": peak_megabytes()}
    given.out.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
