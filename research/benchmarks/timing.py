"""Shared by benchmarks: time alternatives in turn, describe the machine, write results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keyframe_asr.io.atomic_write import write_whole

WARM_UP_ROUNDS = 3


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """Create a parser that shows the docstring of a script and has `--json FILE`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result to FILE")
    return parser


def in_turn(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = WARM_UP_ROUNDS,
    device: str = "cpu",
) -> dict[str, list[float]]:
    """Return the seconds of each contestant in each round.

    They run in turn, round by round, so that a busy machine slows all of them equally.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(warm_up + rounds):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            if device != "cpu":
                import torch  # takes seconds and memory, which others measure here

                torch.cuda.synchronize(device)
            if number >= warm_up:
                times[name].append(time.perf_counter() - began)
    return times


def comparison(
    target: str,
    setting: Mapping[str, Any],
    times: Mapping[str, Sequence[float]],
    figures: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Return the result of a benchmark with two or more contestants, as JSON values.

    Args:
        target: what was measured.
        setting: sizes and options that the times depend on.
        times: seconds of each contestant in each round; `ratio` is the median of the first over
            that of the second.
        figures: further results.
    """
    import torch

    medians = [statistics.median(seconds) for seconds in times.values()]
    return {
        "target": target,
        "setting": dict(setting),
        "rounds": len(next(iter(times.values()))),
        "seconds": {
            name: {
                "median": statistics.median(seconds),
                "minimum": min(seconds),
                "maximum": max(seconds),
            }
            for name, seconds in times.items()
        },
        "ratio": medians[0] / medians[1],
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "system": platform.system(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
        "figures": dict(figures or {}),
    }


def processor() -> str:
    """Return the name of the processor on Linux, and its architecture elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def peak_megabytes() -> float:
    """Return the peak memory of this process in MiB; unlike `getrusage`, without its parent's.

    Linux only.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB", status, flags=re.MULTILINE)
    return int(kilobytes) / 1024


def show(result: Mapping[str, Any], path: Path | None) -> None:
    """Print the result as JSON, and write it atomically if a path is given.

    Raises:
        KeyframeError: it cannot be written.
    """
    text = json.dumps(result, indent=2)
    print(text)
    if path is not None:
        write_whole(path, text + "\n")
