"""Measure the peak memory of recognising a minute and three hours, which must be the same.

    python -m research.benchmarks.long_memory an4-small --speech an4_test.tsv
        [--json research/benchmarks/long_memory.json]

The recordings repeat the utterances of a manifest, or are noise of changing loudness. Each is
recognised in a separate process. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from keyframe_asr import load
from keyframe_asr.audio.reading import read_audio
from keyframe_asr.data.manifest import audio_path, load_manifest
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions, VoiceActivity
from keyframe_asr.timing import SAMPLE_RATE
from research.benchmarks.timing import argument_parser, peak_megabytes, show

MODULE = "research.benchmarks.long_memory"
LENGTHS = {"1 minute": 60, "3 hours": 3 * 3600}


def speech(manifest: Path | None) -> Iterator[np.ndarray]:
    """Yield endless samples with pauses of half a second."""
    random = np.random.default_rng(0)
    if manifest is None:
        loudness = np.abs(np.sin(np.arange(4 * SAMPLE_RATE) / 2000)) * 0.1
        while True:
            yield random.normal(size=loudness.size) * loudness
            yield np.zeros(SAMPLE_RATE // 2)
    for cut in cycle(list(load_manifest(manifest))):
        yield read_audio(audio_path(cut))
        yield np.zeros(SAMPLE_RATE // 2)


def write(path: Path, seconds: int, manifest: Path | None) -> None:
    """Write a recording of this duration in blocks."""
    left = seconds * SAMPLE_RATE
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for samples in speech(manifest):
            file.write(samples[:left])
            left -= samples.size
            if left <= 0:
                return


def recognise(
    model: str, path: Path, decode: DecodeMode | None, vad: VoiceActivity, batch: float
) -> None:
    """Recognise in this process, and print the result and the peak memory."""
    recognizer = load(model)
    began, used = time.monotonic(), time.process_time()
    options = RecognitionOptions(decode, voice_activity=vad, batch_seconds=batch)
    found = recognizer.transcribe(path, options)
    print(
        json.dumps(
            {
                "audio seconds": found.duration,
                "peak MiB": round(peak_megabytes(), 1),
                "cpu seconds": round(time.process_time() - used, 1),
                "wall seconds": round(time.monotonic() - began, 1),
                "tokens": len(found.tokens),
                "segments": len(found.segments),
            }
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: measure both lengths, and print the ratio of the peaks."""
    parser = argument_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("--speech", type=Path, help="manifest whose utterances are repeated")
    parser.add_argument("--decode")
    parser.add_argument("--vad", default="auto")
    parser.add_argument("--batch-seconds", type=float, default=30.0, help="as of transcribe")
    parser.add_argument("--recording", type=Path, help=argparse.SUPPRESS)
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = parser.parse_args(words)
    if given.recording:
        recognise(given.model, given.recording, given.decode, given.vad, given.batch_seconds)
        return
    result: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}",
        "model": given.model,
        "vad": given.vad,
        "batch seconds": given.batch_seconds,
    }
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds in LENGTHS.items():
            path = Path(folder) / "long.flac"
            write(path, seconds, given.speech)
            command = [sys.executable, "-m", MODULE, *words, "--recording", str(path)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            result[name] = json.loads(output)
            peaks.append(result[name]["peak MiB"])
            print(name, output, end="", flush=True)
    result["ratio of the peaks"] = round(peaks[1] / peaks[0], 3)
    show(result, given.json)


if __name__ == "__main__":
    main()
