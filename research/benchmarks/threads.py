"""Time recognition and training with several settings of OpenMP, on a quiet and on a busy machine.

    python -m research.benchmarks.threads an4-small --speech an4_test.tsv
        [--json research/benchmarks/threads.json]

The settings take turns, each in a process of its own, first as the machine is, then beside one busy
process per core. Seconds are without the start of the process. Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from keyframe_asr import load
from keyframe_asr.config.model import EncoderConfig, ModelConfig, SubsamplingConfig
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.io.threads import THREADS, WAIT_POLICY, set_openmp, usable_cores
from research.benchmarks.long_memory import write
from research.benchmarks.timing import argument_parser, processor, show
from research.benchmarks.train import measure as measure_training

MODULE = "research.benchmarks.threads"
ROUNDS, SECONDS = 3, 60
SPINNING = {"GOMP_SPINCOUNT": "300000"}
"""What libgomp does if nothing is set."""

BUSY_SECONDS_BEFORE = 60
"""The load of a machine is an average of a minute."""

TRAINED = ModelConfig(
    subsampling=SubsamplingConfig(channels=32),
    encoder=EncoderConfig(layers=4, keyframe_layer=2, dim=64, heads=4, feed_forward=256),
)


def settings() -> dict[str, Callable[[], dict[str, str]]]:
    """Return the environment of each setting, as of the moment that it is used."""
    cores = {THREADS: str(usable_cores())}
    return {
        "spinning": lambda: cores | SPINNING,
        "sleeping": lambda: cores | {WAIT_POLICY: "PASSIVE"},
        "one thread": lambda: {THREADS: "1"},
        "default": _default,
    }


def _default() -> dict[str, str]:
    chosen: dict[str, str] = {}
    set_openmp(chosen)
    return chosen


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep some processes busy for as long as the block runs."""
    command = [sys.executable, "-c", "while True: pass"]
    children = [subprocess.Popen(command) for _ in range(processes)]
    try:
        time.sleep(BUSY_SECONDS_BEFORE if processes else 0)
        yield
    finally:
        for child in children:
            child.kill()
            child.wait()


def in_child(words: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    """Run this script in a process with only this OpenMP environment; return what it measured."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))
    }
    command = [sys.executable, "-m", MODULE, *words]
    done = subprocess.run(
        command, env=kept | environment, check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(words: Sequence[str], rounds: int) -> dict[str, Any]:
    """Let the settings take turns; return medians, and each over one thread."""
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in settings()}
    loads = []
    for _ in range(rounds):
        for name, environment in settings().items():
            loads.append(os.getloadavg()[0])
            runs[name].append(in_child(words, environment()))
    medians = {
        name: statistics.median(run["wall seconds"] for run in one) for name, one in runs.items()
    }
    return {
        "load average": {"minimum": min(loads), "maximum": max(loads)},
        "settings": {
            name: {
                "wall seconds": [run["wall seconds"] for run in one],
                "cpu seconds": [run["cpu seconds"] for run in one],
                "threads": [run["threads"] for run in one],
                "median over one thread": round(medians[name] / medians["one thread"], 2),
            }
            for name, one in runs.items()
        },
    }


def child(model: str, recording: Path | None) -> None:
    """Recognise the recording, or train on noise; print seconds and threads."""
    import torch

    recognizer = load(model, "cpu")
    began, used = time.monotonic(), time.process_time()
    if recording is not None:
        recognizer.transcribe(recording, RecognitionOptions("ctc", voice_activity="loudness"))
    else:
        measure_training(1, TRAINED, batches=2)
    seconds = {
        "wall seconds": round(time.monotonic() - began, 2),
        "cpu seconds": round(time.process_time() - used, 2),
    }
    print(json.dumps(seconds | {"threads": torch.get_num_threads()}))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("--speech", type=Path, help="manifest whose utterances are repeated")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="length of the recording")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--recording", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.recording or given.train:
        child(given.model, given.recording)
        return
    cores = usable_cores()
    result: dict[str, Any] = {
        "machine": {"processor": processor(), "cores": cores},
        "model": given.model,
        "audio seconds": given.seconds,
        "rounds": given.rounds,
    }
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "speech.flac"
        write(recording, given.seconds, given.speech)
        measured_words = {
            "recognition": [given.model, "--recording", str(recording)],
            "training": [given.model, "--train"],
        }
        for name, processes in (("as found", 0), (f"beside {cores} busy processes", cores)):
            with busy(processes):
                for work, words in measured_words.items():
                    result[f"{work}, {name}"] = measured(words, given.rounds)
                    show(result, given.json)  # each takes minutes


if __name__ == "__main__":
    main()
