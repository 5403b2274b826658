"""`keyframe bench`: how long a part takes on this machine, next to what it replaces.

The contestants of a benchmark run in turn, round by round, so that a busy machine slows all of
them; the medians over the rounds are compared.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from keyframe_asr.io.atomic_write import write_whole

ROUNDS = 25
WARM_UP_ROUNDS = 3
TRAINING_ROUNDS = 4


@dataclass(frozen=True)
class Benchmark:
    """Times of one benchmark.

    Attributes:
        target: what was measured.
        setting: sizes and options that the times depend on.
        rounds: how often each contestant ran.
        seconds: contestant → {"median", "minimum", "maximum"}.
        ratio: median of the first contestant over the median of the second.
        machine: processor, threads, versions.
        figures: what else was found.
    """

    target: str
    setting: dict[str, Any]
    rounds: int
    seconds: dict[str, dict[str, float]]
    ratio: float
    machine: dict[str, Any]
    figures: dict[str, float] = field(default_factory=dict)


def bench(
    target: Annotated[str, typer.Argument(help="What to measure: axe, keyframes, train.")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the result to this file.")
    ] = None,
) -> None:
    """Measure TARGET on this machine and print one table."""
    if target not in TARGETS:
        raise typer.BadParameter(
            f"there is no benchmark '{target}'; choose one of {', '.join(TARGETS)}",
            param_hint="TARGET",
        )
    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise typer.BadParameter(
            f"the folder of {json_file} does not exist; make it first", param_hint="--json"
        )
    result = TARGETS[target]()
    _print(result)
    if json_file is not None:
        write_json(result, json_file)


def bench_axe(rounds: int = ROUNDS) -> Benchmark:
    """AXE on the shortened sequence against CTC on the unshortened one, forward and backward.

    Both start from log-probabilities that want a gradient, batch first as a model makes them. CTC
    is also timed on its own layout, time first, which saves it a copy.
    """
    import torch

    from keyframe_asr.losses import axe_loss

    batch, keyframes, frames, longest, vocabulary = 32, 24, 168, 20, 4233
    generator = torch.Generator().manual_seed(0)
    short = torch.randn(batch, keyframes, vocabulary, generator=generator).log_softmax(-1)
    long = torch.randn(batch, frames, vocabulary, generator=generator).log_softmax(-1)
    time_first = long.transpose(0, 1).contiguous()
    targets = torch.randint(1, vocabulary, (batch, longest), generator=generator)
    target_lengths = torch.full((batch,), longest)
    short_lengths, long_lengths = torch.full((batch,), keyframes), torch.full((batch,), frames)

    def axe() -> None:
        leaf = short.detach().requires_grad_()
        axe_loss(leaf, targets, short_lengths, target_lengths).backward()

    def backward_of_ctc(log_probs: torch.Tensor) -> None:
        lengths = long_lengths, target_lengths
        torch.nn.functional.ctc_loss(log_probs, targets, *lengths).backward()

    contestants = {
        "axe": axe,
        "ctc": lambda: backward_of_ctc(long.detach().requires_grad_().transpose(0, 1)),
        "ctc, time first": lambda: backward_of_ctc(time_first.detach().requires_grad_()),
    }
    setting = {"B": batch, "K": keyframes, "U": frames, "L": longest, "V": vocabulary}
    return _measure("axe", setting, contestants, rounds)


def bench_keyframes(rounds: int = ROUNDS) -> Benchmark:
    """Keyframe selection against the arg-max over the vocabulary that it cannot do without."""
    import torch

    from keyframe_asr.model.keyframes import SelectionPolicy, select_keyframes

    batch, frames, vocabulary = 32, 168, 4233
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(batch, frames, vocabulary, generator=generator)
    logits[:, :, 0] += 8.0 * (torch.rand(batch, frames, generator=generator) < 0.86)
    log_probs = logits.log_softmax(-1)
    lengths = torch.full((batch,), frames)
    policy = SelectionPolicy()

    def keyframes() -> None:
        select_keyframes(log_probs, lengths, policy)

    def arg_max() -> None:
        log_probs.max(dim=-1)

    setting = {"B": batch, "U": frames, "V": vocabulary}
    return _measure("keyframes", setting, {"keyframes": keyframes, "arg-max": arg_max}, rounds)


def bench_train(rounds: int = TRAINING_ROUNDS) -> Benchmark:
    """Training steps of the paper's network with keyframes against those with all frames."""
    from research.bench_train import measure_training

    times, setting, figures = measure_training(rounds)
    return _benchmark("train", setting, times, figures)


TARGETS: Mapping[str, Callable[[], Benchmark]] = {
    "axe": bench_axe,
    "keyframes": bench_keyframes,
    "train": bench_train,
}


def write_json(result: Benchmark, path: Path) -> None:
    """Write the result, replacing the file only once all of it is there."""
    write_whole(path, json.dumps(asdict(result), indent=2) + "\n")


def _measure(
    target: str,
    setting: dict[str, Any],
    contestants: dict[str, Callable[[], None]],
    rounds: int,
) -> Benchmark:
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(WARM_UP_ROUNDS + rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if number >= WARM_UP_ROUNDS:
                times[name].append(time.perf_counter() - start)
    return _benchmark(target, setting, times)


def _benchmark(
    target: str,
    setting: dict[str, Any],
    times: dict[str, list[float]],
    figures: dict[str, float] | None = None,
) -> Benchmark:
    medians = [statistics.median(values) for values in times.values()]
    return Benchmark(
        target=target,
        setting=setting,
        rounds=len(next(iter(times.values()))),
        seconds={
            name: {
                "median": statistics.median(values),
                "minimum": min(values),
                "maximum": max(values),
            }
            for name, values in times.items()
        },
        ratio=medians[0] / medians[1],
        machine=_machine(),
        figures=figures or {},
    )


def _machine() -> dict[str, Any]:
    import platform

    import torch

    return {
        "processor": _processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str | None:
    """The processor's name where the system tells it (Linux)."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else None


def _print(result: Benchmark) -> None:
    from rich.console import Console
    from rich.table import Table

    setting = ", ".join(f"{name} {value}" for name, value in result.setting.items())
    machine = result.machine
    table = Table(
        title=f"{result.target}: {setting}",
        caption=f"{result.rounds} rounds on {machine['processor']}, {machine['threads']} threads, "
        f"torch {machine['torch']}",
    )
    table.add_column("")
    for heading in ("median ms", "minimum ms", "maximum ms"):
        table.add_column(heading, justify="right")
    for name, seconds in result.seconds.items():
        table.add_row(name, *(f"{1000 * seconds[key]:.2f}" for key in seconds))
    console = Console()
    console.print(table)
    first, second = list(result.seconds)[:2]
    console.print(f"{first} takes {100 * result.ratio:.1f} % of the time of {second}")
    for name, value in result.figures.items():
        console.print(f"{name}: {value:.3g}")
