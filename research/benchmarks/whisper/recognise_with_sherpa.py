"""Recognise a list of recordings with sherpa-onnx and what `keyframe export` wrote for it.

    python -m research.benchmarks.whisper.recognise_with_sherpa FOLDER LIST --threads 1

Input and output are those of `recognise_with_faster_whisper.py`; there is no decoder to count.
Recordings go through in one piece.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import soundfile

from research.benchmarks.timing import peak_megabytes


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("list", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args(arguments)
    import sherpa_onnx  # imported here, so that --help works without it

    recognizer = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(given.folder / "model.onnx"),
        tokens=str(given.folder / "tokens.txt"),
        num_threads=given.threads,
    )

    def recognise(path: str) -> str:
        samples, rate = soundfile.read(path, dtype="float32")
        stream = recognizer.create_stream()
        stream.accept_waveform(rate, samples)
        recognizer.decode_stream(stream)
        return str(stream.result.text).strip()

    recordings = [json.loads(line) for line in given.list.read_text(encoding="utf-8").splitlines()]
    recognise(recordings[0]["path"])
    for one in recordings:
        began = time.perf_counter()
        text = recognise(one["path"])
        seconds = time.perf_counter() - began
        row = {"id": one["id"], "text": text, "seconds": seconds, "steps": 0, "vectors": 0}
        print(json.dumps(row, ensure_ascii=False), flush=True)
    print(json.dumps({"peak_megabytes": peak_megabytes()}), flush=True)


if __name__ == "__main__":
    main()
