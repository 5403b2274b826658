"""Measure recognition and training on a GPU: one table, in at most eight minutes, without network.

    research/benchmarks/gpu.sh [--json FILE]          # checks the machine first
    research/benchmarks/gpu.sh --device cpu --quick   # tiny sizes: only whether it runs

Recognition is that of shipped models on noise, in batches; training that of the network of
`aishell1.yaml` in its stage with keyframes, on random batches that are on the device already. Rows
that no longer fit into the time are left out. Several devices are not measured: on a single one,
nothing is exchanged.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from keyframe_asr.config.model import DecoderConfig, EncoderConfig, ModelConfig, SubsamplingConfig
from keyframe_asr.config.recipe import LossConfig, StageConfig, load_recipe
from keyframe_asr.config.training import TrainingConfig
from keyframe_asr.data.dataset import Batch
from keyframe_asr.inference.recognizer import Recognizer, load
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.timing import SAMPLE_RATE
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.precision import autocast_type
from keyframe_asr.training.step import Updater
from research.benchmarks.timing import processor
from research.cost.training_step import random_batch, random_network

PAPER = Path(__file__).resolve().parents[2] / "recipes" / "aishell1.yaml"
VOCABULARY, MEL_BINS, TOKENS_PER_SECOND = 4233, 80, 2.9
"""AISHELL-1 (arXiv 2510.10453)."""

MINUTES = 7.0
COMPILE_SECONDS = 150.0
"""Time without which torch.compile is not begun: it cannot be stopped."""

ROW_SECONDS = 6.0
"""Time after which a row has no further rounds."""

PRECISIONS = ("float32", "tf32", "bfloat16")
COLUMNS = "{:<32}{:<28}{:>12}{:>14}{:>17}{:>11}"
TITLES = ("measured", "setting", "audio s / s", "updates / s", "waits / update", "peak GiB")


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    models: tuple[str, ...] = ("an4", "english-mandarin")
    batch_sizes: tuple[int, ...] = (1, 8, 32, 128)
    utterance_seconds: float = 5.0
    network: ModelConfig | None = None
    """None: that of `PAPER`."""
    batch_seconds: tuple[float, ...] = (120.0, 480.0)
    rounds: int = 10
    warm_up: int = 3


QUICK = Sizes(
    models=("demo",),
    batch_sizes=(1, 2),
    utterance_seconds=1.0,
    network=ModelConfig(
        subsampling=SubsamplingConfig(channels=8),
        encoder=EncoderConfig(layers=2, keyframe_layer=1, dim=16, heads=2, feed_forward=32),
        decoder=DecoderConfig(layers=1, heads=2, feed_forward=32),
    ),
    batch_seconds=(8.0,),
    rounds=2,
    warm_up=1,
)


@dataclass(frozen=True)
class Row:
    """A row of the table; None: not measured here."""

    measured: str
    setting: str
    audio_seconds_a_second: float | None = None
    updates_a_second: float | None = None
    waits_an_update: float | None = None
    peak_gibibytes: float | None = None

    def __str__(self) -> str:
        figures = (
            ("{:,.0f}", self.audio_seconds_a_second),
            ("{:.2f}", self.updates_a_second),
            ("{:.1f}", self.waits_an_update),
            ("{:.2f}", self.peak_gibibytes),
        )
        shown = ["-" if one is None else form.format(one) for form, one in figures]
        return COLUMNS.format(self.measured, self.setting, *shown)


Measurement = tuple[float, Callable[[], Iterator[Row]]]
"""Seconds that must be left to begin, and what yields rows."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda or cpu (default: cuda)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="most time (default: 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to FILE")
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if problem := missing(device):
        parser.error(f"{problem}; --device cpu --quick tries the script")
    if device.type == "cpu":
        os.environ["ACCELERATE_USE_CPU"] = "true"
    sizes = QUICK if given.quick else Sizes()
    print(COLUMNS.format(*TITLES), flush=True)
    rows = []
    compiles = not given.no_compile and can_compile()
    for row in measure(sizes, device, given.minutes * 60, compiles):
        print(row, flush=True)
        rows.append(row)
    if given.json is not None:
        found = {"machine": _machine(device), "rows": [asdict(row) for row in rows]}
        write_whole(given.json, json.dumps(found, indent=2) + "\n")


def missing(device: torch.device) -> str | None:
    """What keeps torch from using a device; None if nothing does."""
    if device.type == "cpu" or torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return (
        "torch finds no GPU: see nvidia-smi, and whether its driver is new enough for CUDA "
        f"{torch.version.cuda}"
    )


def can_compile() -> bool:
    """True if there is what torch.compile needs; says if not."""
    has_triton = importlib.util.find_spec("triton") is not None
    if has_triton and shutil.which(os.environ.get("CC", "cc")):
        return True
    print("no triton or no C compiler: nothing is compiled", file=sys.stderr)
    return False


def measure(sizes: Sizes, device: torch.device, seconds: float, compiles: bool) -> Iterator[Row]:
    """Yield rows until the time is over; one says why others are missing."""
    until = time.monotonic() + seconds
    for needed, rows in _measurements(sizes, device, compiles):
        left = until - time.monotonic()
        if left <= needed:
            yield Row(f"left out: {left:.0f} s left", "")
            continue
        try:
            for row in rows():
                yield row
                if time.monotonic() > until:
                    break
        except Exception as error:  # a row that fails must not cost the others
            yield Row("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _measurements(sizes: Sizes, device: torch.device, compiles: bool) -> Iterator[Measurement]:
    """The most important first."""
    training = partial(_training, sizes, device)
    longest = max(sizes.batch_seconds)
    for precision in ("bfloat16", "tf32", "float32"):
        yield 0.0, partial(training, precision, longest)
    for model in sizes.models:
        yield 0.0, partial(_recognition, sizes, device, model)
    for batch_seconds in sorted(sizes.batch_seconds)[:-1]:
        yield 0.0, partial(training, "bfloat16", batch_seconds)
    yield 0.0, partial(_features, sizes)
    if compiles:
        yield COMPILE_SECONDS, partial(training, "bfloat16", longest, compiled=True)


def _recognition(sizes: Sizes, device: torch.device, model: str) -> Iterator[Row]:
    """The network alone in each precision, and everything from samples to text."""
    recognizer = load(model, str(device), backend="torch")
    samples = _noise(sizes.utterance_seconds)
    features = recognizer.front_end(samples)
    for size in sizes.batch_sizes:
        audio = size * sizes.utterance_seconds
        for precision in PRECISIONS:
            if (context := _precision(precision, device)) is None:
                continue
            with context:
                found = _timed(partial(recognizer.network.encode, [features] * size), sizes, device)
            yield _row(f"network of {model}", f"{size} x {precision}", audio, found, device)
        found = _timed(partial(recognizer.recognise, [samples] * size), sizes, device)
        yield _row(f"recognition, {model}", f"{size} x float32", audio, found, device)


def _training(
    sizes: Sizes, device: torch.device, precision: str, seconds: float, *, compiled: bool = False
) -> Iterator[Row]:
    """Updates of one batch each."""
    context = _precision(precision, device)
    if context is None:
        return
    torch.manual_seed(0)
    network = random_network(
        load_recipe(PAPER).model if sizes.network is None else sizes.network, MEL_BINS, VOCABULARY
    )
    stage = StageConfig(
        name="keyframes",
        epochs=1,
        keyframes=True,
        fusion=True,
        losses=LossConfig(),
        learning_rate=1e-9,
    )
    settings = TrainingConfig(
        precision="bfloat16" if precision == "bfloat16" else "float32", compile=compiled
    )
    processes = Processes()
    updater = Updater(processes, StageObjective(network, stage).train(), stage, settings, 100)
    batch = _batch(seconds).to(processes.device)
    step = iter(range(1, 1_000_000))
    with nullcontext() if precision == "bfloat16" else context:
        found = _timed(lambda: updater.update([batch], next(step)), sizes, device)
        waits = _waits(lambda: updater.update([batch], next(step)), device)
    name = "training, compiled" if compiled else "training"
    row = _row(name, f"{seconds:g} s a batch, {precision}", batch.audio_seconds, found, device)
    yield replace(row, updates_a_second=1 / found, waits_an_update=waits)


def _features(sizes: Sizes) -> Iterator[Row]:
    """What a data loading process computes, on one core."""
    recognizer: Recognizer = load(sizes.models[0], "cpu", backend="torch")
    samples = _noise(sizes.utterance_seconds)
    found = _timed(lambda: recognizer.front_end(samples), sizes, torch.device("cpu"))
    yield Row("features", "one core", sizes.utterance_seconds / found)


def _timed(run: Callable[[], object], sizes: Sizes, device: torch.device) -> float:
    """Median of the seconds that it takes; fewer rounds if they are long."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    found: list[float] = []
    until = time.monotonic() + ROW_SECONDS
    for number in range(sizes.warm_up + sizes.rounds):
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        is_late = time.monotonic() > until
        if number >= sizes.warm_up or is_late:
            found.append(time.perf_counter() - began)
        if is_late:
            break
    return median(found)


def _waits(run: Callable[[], object], device: torch.device, times: int = 4) -> float | None:
    """How often the host waits for the GPU each time, as torch tells it."""
    if device.type != "cuda":
        return None
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for _ in range(times):
                run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(one.message) for one in told) / times


def _precision(name: str, device: torch.device) -> AbstractContextManager[None] | None:
    """Matrix products in this precision; None if the device does not have it."""
    half = autocast_type("bfloat16", device) if name == "bfloat16" else None
    missing = half is None if name == "bfloat16" else name == "tf32" and device.type != "cuda"
    return None if missing else _products(name, device, half)


@contextmanager
def _products(name: str, device: torch.device, half: torch.dtype | None) -> Iterator[None]:
    torch.set_float32_matmul_precision("highest" if name == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = name != "float32"
    with nullcontext() if half is None else torch.autocast(device.type, half):
        yield
    torch.backends.cudnn.allow_tf32 = True


def _row(measured: str, setting: str, audio: float, seconds: float, device: torch.device) -> Row:
    peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    return Row(measured, setting, audio / seconds, peak_gibibytes=peak)


def _batch(seconds: float) -> Batch:
    generator = np.random.default_rng(0)
    torch.manual_seed(1)
    made = random_batch(seconds, MEL_BINS, VOCABULARY, TOKENS_PER_SECOND, generator)
    return Batch(
        tuple(map(str, range(len(made.features)))),
        made.features,
        made.feature_lengths,
        made.tokens,
        made.token_lengths,
        float(made.feature_lengths.sum()) / 100,
    )


def _noise(seconds: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Noise (S,) whose loudness changes."""
    samples = 0.1 * np.random.default_rng(0).normal(size=round(seconds * SAMPLE_RATE))
    return (samples * np.abs(np.sin(np.arange(samples.size) / 2000))).astype(np.float32)


def _machine(device: torch.device) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if device.type == "cuda" else None
    return {"processor": processor(), "gpu": gpu, "torch": torch.__version__}


if __name__ == "__main__":
    main()
