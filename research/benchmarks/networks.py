"""Time the network of `aishell1_fast.yaml` against that of `aishell1.yaml`.

    python -m research.benchmarks.networks [--json research/benchmarks/networks.json]

Measures recognition of one utterance, and training steps. All networks have random weights and take
turns on the same input, so that a busy machine slows all of them equally; processor time is also
measured. There are as many keyframes as tokens, as after the inter-CTC has learned to spike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from keyframe_asr.config.model import ModelConfig
from keyframe_asr.config.recipe import load_recipe
from keyframe_asr.timing import FRAMES_PER_SECOND
from research.benchmarks.timing import argument_parser, comparison, in_turn, show
from research.benchmarks.train import TOKENS_PER_SECOND, VOCABULARY
from research.cost.training_step import RandomBatch, SteppedNetwork, random_batch, random_network
from research.multiply_adds import MultiplyAddsCounter

PAPER, FAST = "recipes/aishell1.yaml", "recipes/aishell1_fast.yaml"
ALL_FRAMES = "all frames"
"""The contestant that the others are compared with."""
MEL_BINS = 80
SECONDS = (5.0, 30.0)
BATCH_SECONDS, BATCHES = 30.0, 1
ROUNDS = 5


@dataclass(frozen=True)
class Contestant:
    """A network, with keyframes or with all frames."""

    model: ModelConfig
    keyframes: bool


def measure(
    contestants: Mapping[str, Contestant],
    rounds: int,
    seconds: Sequence[float] = SECONDS,
    batch_seconds: float = BATCH_SECONDS,
) -> dict[str, Any]:
    """Measure recognition of one utterance of each duration, and training steps.

    Args:
        contestants: the second is `ALL_FRAMES`.
        rounds: number of rounds; one more warms up.
        seconds: durations of the utterances.
        batch_seconds: seconds of audio a training batch.

    Returns:
        A comparison for each measurement. Its `ratios` are those of the times of each round to
        that of `ALL_FRAMES` in the same round, its `processor ratios` those of processor times.
    """
    torch.set_num_threads(1)
    found = {f"recognition, {one:g} s": _recognition(contestants, one, rounds) for one in seconds}
    return found | {"training step": _training(contestants, batch_seconds, rounds)}


def shipped_contestants() -> dict[str, Contestant]:
    """Return the fast network, and the paper's with all frames and with keyframes."""
    paper, fast = load_recipe(PAPER).model, load_recipe(FAST).model
    return {
        "fast": Contestant(fast, keyframes=True),
        ALL_FRAMES: Contestant(paper, keyframes=False),
        "keyframes": Contestant(paper, keyframes=True),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    show(measure(shipped_contestants(), given.rounds), given.json)


@torch.inference_mode()
def _recognition(
    contestants: Mapping[str, Contestant], seconds: float, rounds: int
) -> dict[str, Any]:
    """Encoders and heads on one utterance of random features."""
    torch.manual_seed(0)
    frames, tokens = (round(seconds * rate) for rate in (FRAMES_PER_SECOND, TOKENS_PER_SECOND))
    features, sizes = torch.randn(1, frames, MEL_BINS), [torch.tensor([frames])]
    sizes.append(torch.tensor([tokens]))
    runs, products = {}, {}
    for name, one in contestants.items():
        network = random_network(one.model, MEL_BINS, VOCABULARY).eval()
        network.keyframes_enabled = network.fusion_enabled = one.keyframes
        runs[name] = partial(network.encode, features, *sizes)
        kept = tokens if one.keyframes else None
        counted = MultiplyAddsCounter(network).count(frames, kept, fused=one.keyframes)
        products[name] = counted.total
    setting = {"V": VOCABULARY, "seconds": seconds, "tokens a second": TOKENS_PER_SECOND}
    return compared("recognition", setting, runs, rounds) | {"multiply_adds": products}


def _training(
    contestants: Mapping[str, Contestant], batch_seconds: float, rounds: int
) -> dict[str, Any]:
    """Whole steps on the same batches: forward, losses, backward, optimiser."""
    generator = np.random.default_rng(0)
    drawn = (batch_seconds, MEL_BINS, VOCABULARY, TOKENS_PER_SECOND, generator)
    batches = [random_batch(*drawn) for _ in range(BATCHES)]
    networks = {
        name: SteppedNetwork(
            one.model, MEL_BINS, VOCABULARY, "axe" if one.keyframes else "ctc", "cpu"
        )
        for name, one in contestants.items()
    }
    runs = {name: partial(_steps, network, batches) for name, network in networks.items()}
    setting = {"V": VOCABULARY, "seconds a batch": batch_seconds, "batches a round": BATCHES}
    return compared("training step", setting, runs, rounds)


def _steps(network: SteppedNetwork, batches: Sequence[RandomBatch]) -> None:
    for batch in batches:
        network.step(batch)


def compared(
    target: str, setting: Mapping[str, Any], runs: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, Any]:
    """Run the contestants in turn, and return the comparison and both kinds of ratios."""
    processor: dict[str, list[float]] = {name: [] for name in runs}
    timed = {name: partial(_on_processor, run, processor[name]) for name, run in runs.items()}
    times = in_turn(timed, rounds, warm_up=1)
    measured = {name: seconds[-rounds:] for name, seconds in processor.items()}
    return comparison(target, setting, times) | {
        "ratios": _ratios(times),
        "processor ratios": _ratios(measured),
    }


def _on_processor(run: Callable[[], object], seconds: list[float]) -> None:
    """Run, and append the processor time."""
    began = time.process_time()
    run()
    seconds.append(time.process_time() - began)


def _ratios(times: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Return the times relative to those of `ALL_FRAMES`, round by round."""
    ratios = {
        name: [one / other for one, other in zip(seconds, times[ALL_FRAMES], strict=True)]
        for name, seconds in times.items()
        if name != ALL_FRAMES
    }
    return {
        name: {"median": statistics.median(of), "minimum": min(of), "maximum": max(of)}
        for name, of in ratios.items()
    }


if __name__ == "__main__":
    main()
