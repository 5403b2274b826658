"""Recognise a list of recordings with faster-whisper (int8), one after the other, and time it.

    python recognise_with_whisper.py MODEL LIST --language zh --beam 5 --threads 1 --out FILE.json

Runs in a separate environment (see `compare.py`), so it imports nothing from this project. LIST has
one path per line. FILE receives the text of each recording, the seconds (without loading the model,
and after a warm-up on the first recording), and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

SIMPLIFIED = "以下是普通话的句子。"
"""Prompt that makes whisper write simplified instead of traditional characters."""


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
    parser.add_argument("--language", required=True)
    parser.add_argument("--beam", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(arguments)
    from faster_whisper import WhisperModel  # imported here, so that --help works without it

    model = WhisperModel(given.model, device="cpu", compute_type="int8", cpu_threads=given.threads)

    def recognise(path: str) -> str:
        segments, _ = model.transcribe(
            path,
            language=given.language,
            beam_size=given.beam,
            without_timestamps=True,
            condition_on_previous_text=False,
            initial_prompt=SIMPLIFIED if given.language == "zh" else None,
        )
        return "".join(segment.text for segment in segments).strip()

    paths = given.list.read_text(encoding="utf-8").split("\n")
    recognise(paths[0])
    started = time.perf_counter()
    texts = [recognise(path) for path in paths]
    seconds = time.perf_counter() - started
    found = {"texts": texts, "seconds": seconds, "peak_megabytes": peak_megabytes()}
    given.out.write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
