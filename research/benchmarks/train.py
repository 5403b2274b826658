"""Time training steps of the paper's network, with keyframes against all frames.

    python -m research.benchmarks.train [--json research/benchmarks/train.json]

Batches of noise with the durations of AISHELL-1 go through the real loader, losses and optimiser.
There are as many keyframes as tokens, as after the inter-CTC has learned to spike.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from lhotse import CutSet
from lhotse.cut import Cut

from keyframe_asr.audio.features import Fbank
from keyframe_asr.config.augment import AugmentConfig
from keyframe_asr.config.model import FeaturesConfig, ModelConfig
from keyframe_asr.config.recipe import LossConfig, StageConfig
from keyframe_asr.config.training import TrainingConfig
from keyframe_asr.data.augment import Augmentation, Draws
from keyframe_asr.data.dataset import Batch, BatchLoader, SpeechDataset, training_sampler
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import make_cut
from keyframe_asr.text.tokenizer import CharacterTokenizer
from keyframe_asr.timing import SAMPLE_RATE
from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.objective import StageObjective
from keyframe_asr.training.step import Updater
from research.benchmarks.timing import argument_parser, comparison, show
from research.cost.training_step import DEVIATION, MEAN_SECONDS, random_network

ROUNDS = 4
VOCABULARY = 4233
TOKENS_PER_SECOND = 2.9
"""AISHELL-1: 0.1161 characters per 40 ms (arXiv 2510.10453)."""
BATCHES, BATCH_SECONDS, WORKERS = 6, 30.0, 1


@dataclass
class StageTimes:
    """Seconds of each step of a stage, and of waiting for its batch."""

    steps: list[float]
    waits: list[float]


def measure(rounds: int, model: ModelConfig, batches: int = BATCHES) -> dict[str, Any]:
    """Measure steps by stage, throughput and memory.

    All-frames and keyframe epochs alternate over the same batches; the first round warms up.
    """
    torch.manual_seed(0)
    processes = Processes()
    updaters = {name: _updater(name, model, processes) for name in ("keyframes", "all frames")}
    times = {name: StageTimes([], []) for name in updaters}
    with tempfile.TemporaryDirectory() as folder:
        cuts = _noise_corpus(Path(folder), batches)
        audio = sum(cut.duration for cut in cuts)
        for number in range(rounds + 1):
            for name, updater in updaters.items():
                found = _epoch(updater, _batches(cuts, processes), processes)
                if number > 0:
                    times[name].steps += found.steps
                    times[name].waits += found.waits
    setting = {"V": VOCABULARY, "seconds a batch": BATCH_SECONDS, "batches": batches}
    figures = {"peak memory in GiB": _peak_memory(processes) / 2**30}
    for name, one in times.items():
        total = sum(one.steps) + sum(one.waits)
        figures[f"hours of audio an hour, {name}"] = audio * rounds / total
        figures[f"share of time waiting for data, {name}"] = sum(one.waits) / total
    steps = {name: one.steps for name, one in times.items()}
    return comparison("train", setting, steps, figures)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    show(measure(given.rounds, ModelConfig()), given.json)


def _updater(name: str, model: ModelConfig, processes: Processes) -> Updater:
    """Create network and optimiser; blank dominates, so there are as many keyframes as tokens."""
    keyframes = name == "keyframes"
    losses = (
        LossConfig()
        if keyframes
        else LossConfig(inter_ctc=0.09, head=0.21, head_loss="ctc", decoder=0.7)
    )
    stage = StageConfig(
        name=name,
        epochs=1,
        keyframes=keyframes,
        fusion=keyframes,
        losses=losses,
        learning_rate=1e-9,
    )
    network = random_network(model, 80, VOCABULARY)
    network.normalisation.mean.fill_(10.0)
    return Updater(processes, StageObjective(network, stage).train(), stage, TrainingConfig(), 100)


def _noise_corpus(folder: Path, batches: int) -> CutSet:
    generator = np.random.default_rng(0)
    cuts: list[Cut] = []
    while sum(cut.duration for cut in cuts) < batches * BATCH_SECONDS * 0.85:
        seconds = float(np.clip(MEAN_SECONDS * np.exp(DEVIATION * generator.normal()), 1.2, 14.5))
        samples = generator.normal(scale=0.05, size=round(seconds * SAMPLE_RATE))
        path = folder / f"{len(cuts):04d}.flac"
        soundfile.write(path, samples, SAMPLE_RATE)
        tokens = generator.integers(
            0, VOCABULARY - 3, size=max(1, round(seconds * TOKENS_PER_SECOND))
        )
        words = "".join(chr(0x4E00 + token) for token in tokens)
        cuts.append(make_cut(path.stem, "", words, path, len(samples)))
    return CutSet.from_cuts(cuts)


def _batches(cuts: CutSet, processes: Processes) -> Iterator[Batch]:
    tokenizer = CharacterTokenizer([chr(0x4E00 + token) for token in range(VOCABULARY - 3)])
    store = FeatureStore(Fbank(FeaturesConfig()), keep=False)
    augmentation = Augmentation(AugmentConfig(speeds=[1.0]), seed=0)
    dataset = SpeechDataset(
        store,
        tokenizer,
        lambda cut, store, epoch: augmentation.features(cut, store, Draws(0, 0, epoch)),
    )
    sampler = training_sampler(cuts, BATCH_SECONDS, 0, 0)
    for batch in BatchLoader(dataset, WORKERS).load(sampler):
        yield batch.to(processes.device)


def _epoch(updater: Updater, batches: Iterator[Batch], processes: Processes) -> StageTimes:
    times = StageTimes([], [])
    began = time.perf_counter()
    for step, batch in enumerate(batches, start=1):
        ready = time.perf_counter()
        updater.update([batch], step)
        _finish(processes)
        times.steps.append(time.perf_counter() - ready)
        if step > 1:  # the first also waits for the loader to start
            times.waits.append(ready - began)
        began = time.perf_counter()
    return times


def _finish(processes: Processes) -> None:
    if processes.device.type == "cuda":
        torch.cuda.synchronize()


def _peak_memory(processes: Processes) -> float:
    if processes.device.type == "cuda":
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


if __name__ == "__main__":
    main()
