"""Recognise a list of recordings with faster-whisper (int8), one after the other.

    python recognise_with_faster_whisper.py MODEL LIST --beam 5 --threads 1

Runs in a separate environment (see `compare.py`), so it imports nothing from this project. LIST has
one recording a line: JSON with `id`, `path` and `language`. After a warm-up on the first, writes a
line of JSON for each: its `id`, `text`, `seconds`, `steps` of the decoder (tokens, and an end for
each window of 30 s; attempts that were thrown away are not counted) and `vectors` that the decoder
attends to; then a line with the `peak_megabytes` of the process.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

SIMPLIFIED = "以下是普通话的句子。"
"""Prompt that makes whisper write simplified instead of traditional characters."""

WINDOW_SECONDS, WINDOW_VECTORS = 30, 1500


def peak_megabytes() -> float:
    """Return the peak memory of this process in MiB; unlike `getrusage`, without its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kilobytes,) = (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kilobytes) / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("list", type=Path)
    parser.add_argument("--beam", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args(arguments)
    from faster_whisper import WhisperModel  # imported here, so that --help works without it

    model = WhisperModel(given.model, device="cpu", compute_type="int8", cpu_threads=given.threads)

    def recognise(path: str, language: str) -> tuple[str, int, int]:
        segments, about = model.transcribe(
            path,
            language=language,
            beam_size=given.beam,
            without_timestamps=True,
            condition_on_previous_text=False,
            initial_prompt=SIMPLIFIED if language == "zh" else None,
        )
        found = list(segments)
        windows = max(1, math.ceil(about.duration / WINDOW_SECONDS))
        steps = sum(len(one.tokens) for one in found) + windows
        text = "".join(one.text for one in found).strip()
        return text, steps, WINDOW_VECTORS * windows

    recordings = [json.loads(line) for line in given.list.read_text(encoding="utf-8").splitlines()]
    recognise(recordings[0]["path"], recordings[0]["language"])
    for one in recordings:
        began = time.perf_counter()
        text, steps, vectors = recognise(one["path"], one["language"])
        seconds = time.perf_counter() - began
        row = {"id": one["id"], "text": text, "seconds": seconds, "steps": steps}
        print(json.dumps(row | {"vectors": vectors}, ensure_ascii=False), flush=True)
    print(json.dumps({"peak_megabytes": peak_megabytes()}), flush=True)


if __name__ == "__main__":
    main()
