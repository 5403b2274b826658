"""Measure what a large corpus costs before its audio matters: time and memory of each step.

    python -m research.benchmarks.large_corpus [--utterances 1000000] [--json FILE]

All utterances are parts of one recording of a few seconds, so that neither the disk nor decoding
counts for much. Each step runs in a process of its own, whose peak memory is that of the whole
process with its libraries. `--folder` keeps the corpus for another run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from research.benchmarks.timing import argument_parser, peak_megabytes, processor, show

UTTERANCES = 1_000_000
SECONDS = (1.0, 5.0)
WORDS_PER_SECOND = 2.0
VOCABULARY, SPEAKERS, DEV_EVERY = 20_000, 2_000, 1000
RECORDING_SECONDS, RATE = 8.0, 16_000
STEPS = ("check-data", "plan", "load", "bucketing", "epoch")


def write_corpus(folder: Path, utterances: int) -> None:
    """Write a recording, the manifests `train.jsonl.gz` and `dev.jsonl.gz`, and a recipe."""
    import soundfile

    generator = np.random.default_rng(0)
    noise = generator.normal(scale=0.1, size=round(RECORDING_SECONDS * RATE))
    soundfile.write(folder / "noise.wav", noise.astype(np.float32), RATE, subtype="PCM_16")
    letters = np.array(list("etaoinshrdlu"))
    words = [
        "".join(generator.choice(letters, size=generator.integers(2, 9))) for _ in range(VOCABULARY)
    ]
    for split, count in (("train", utterances), ("dev", max(8, utterances // DEV_EVERY))):
        with gzip.open(
            folder / f"{split}.jsonl.gz", "wt", encoding="utf-8", compresslevel=1
        ) as file:
            file.writelines(_lines(split, count, words, folder / "noise.wav", generator))
    (folder / "recipe.json").write_text(json.dumps(_recipe(folder)), encoding="utf-8")


def _lines(
    split: str, count: int, words: Sequence[str], audio: Path, generator: np.random.Generator
) -> Iterator[str]:
    samples = round(RECORDING_SECONDS * RATE)
    recording = {
        "id": audio.stem,
        "sources": [{"type": "file", "channels": [0], "source": str(audio)}],
        "sampling_rate": RATE,
        "num_samples": samples,
        "duration": RECORDING_SECONDS,
        "channel_ids": [0],
    }
    for number in range(count):
        size = round(generator.uniform(*SECONDS) * RATE)
        first = int(generator.integers(samples - size))
        chosen = generator.integers(len(words), size=round(size / RATE * WORDS_PER_SECOND))
        name, duration = f"{split}-{number:07d}", size / RATE
        said = {
            "id": name,
            "recording_id": audio.stem,
            "start": 0.0,
            "duration": duration,
            "channel": 0,
            "text": " ".join(words[one] for one in chosen),
            "speaker": f"{split}-{number % SPEAKERS:04d}",
        }
        cut = {
            "id": name,
            "start": first / RATE,
            "duration": duration,
            "channel": 0,
            "supervisions": [said],
            "recording": recording,
            "type": "MonoCut",
        }
        yield json.dumps(cut) + "\n"


def _recipe(folder: Path) -> dict[str, Any]:
    """A small network, so that the network counts for little."""
    return {
        "name": "large_corpus",
        "data": {"train": str(folder / "train.jsonl.gz"), "dev": str(folder / "dev.jsonl.gz")},
        "language": "en",
        "tokenizer": {"kind": "characters"},
        "features": {"num_mel_bins": 80},
        "model": {
            "subsampling": {"channels": 8},
            "encoder": {
                "layers": 2,
                "keyframe_layer": 1,
                "dim": 16,
                "heads": 2,
                "feed_forward": 24,
            },
            "decoder": {"layers": 1, "heads": 2, "feed_forward": 24},
        },
        "augment": {"speeds": [0.9, 1.0, 1.1]},
        "training": {"batch_seconds": 100, "threads": 1},
        "stages": [
            {
                "name": "all",
                "epochs": 1,
                "losses": {"inter_ctc": 0.3, "head": 0.3, "head_loss": "ctc", "decoder": 0.4},
                "learning_rate": 1e-3,
                "warmup_steps": 10,
            }
        ],
    }


def measure(folder: Path, utterances: int, steps: Sequence[str], jobs: int) -> dict[str, Any]:
    """Run each step in a process of its own; returns its seconds and peak memory."""
    found: dict[str, Any] = {}
    for step in steps:
        command = [sys.executable, "-m", "research.benchmarks.large_corpus", "--step", step]
        command += ["--folder", str(folder), "--jobs", str(jobs)]
        ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[step] = json.loads(ran.stdout.splitlines()[-1])
    return {
        "target": "large_corpus",
        "setting": {"utterances": utterances, "jobs": jobs},
        "machine": {"processor": processor(), "cores": os.cpu_count()},
        "steps": found,
    }


def run_step(step: str, folder: Path, jobs: int) -> dict[str, float]:
    """Run a step in this process; returns its seconds and the peak memory of the process."""
    timed: dict[str, float] = {}

    def run(name: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        timed[name] = round(time.perf_counter() - began, 2)
        return result

    if step == "check-data":
        run("seconds", lambda: _check(folder, jobs))
    elif step == "plan":
        run("seconds", lambda: _plan(folder))
    else:
        _stage_steps(step, folder, run)
    timed["peak_gigabytes"] = round(peak_megabytes() * 2**20 / 1e9, 2)
    return timed


def _check(folder: Path, jobs: int) -> None:
    from keyframe_asr.data.checks.run import check_manifests

    names = [str(folder / "train.jsonl.gz"), str(folder / "dev.jsonl.gz")]
    check_manifests(names, jobs=jobs)


def _plan(folder: Path) -> None:
    from keyframe_asr.config.recipe import load_recipe
    from keyframe_asr.training.plan import plan_recipe

    with tempfile.TemporaryDirectory() as scratch:
        plan_recipe(load_recipe(folder / "recipe.json"), Path(scratch))


def _stage_steps(step: str, folder: Path, run: Callable[[str, Callable[[], Any]], Any]) -> None:
    """Load the data of a run; then count the batches of an epoch, or fetch its first batch."""
    from keyframe_asr.audio.features import Fbank
    from keyframe_asr.config.recipe import load_recipe
    from keyframe_asr.data.augment import Augmentation
    from keyframe_asr.data.feature_store import FeatureStore
    from keyframe_asr.training.data_record import record_data
    from keyframe_asr.training.distributed import Processes
    from keyframe_asr.training.epoch_data import DataSource, StageData
    from keyframe_asr.training.log import TrainingLog
    from keyframe_asr.training.run_data import load_run_data
    from keyframe_asr.training.run_recipe import complete_recipe

    os.environ["ACCELERATE_USE_CPU"] = "true"
    recipe = complete_recipe(load_recipe(folder / "recipe.json"))
    store = FeatureStore(Fbank(recipe.features), keep=False)
    with tempfile.TemporaryDirectory() as scratch, TrainingLog(Path(scratch), quiet=True) as log:
        data = run(
            "load_seconds",
            lambda: load_run_data(recipe, Path(scratch), store, log, resume=False),
        )
        run("record_seconds", lambda: record_data(recipe, data, Path(scratch), 0, log))
        augmentation = Augmentation(recipe.augment, recipe.seed)
        source = DataSource(recipe, data, store, augmentation, Processes(), Path(scratch))
        stage = StageData(source, 0)
        if step == "bucketing":
            run("seconds", lambda: stage.batch_count)
        elif step == "epoch":
            run("seconds", lambda: next(stage.updates(0)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, measure, and show the result."""
    parser = argument_parser(__doc__)
    parser.add_argument("--utterances", type=int, default=UTTERANCES)
    parser.add_argument("--jobs", type=int, default=1, help="processes of check-data")
    parser.add_argument("--steps", nargs="+", choices=STEPS, default=STEPS)
    parser.add_argument("--folder", type=Path, help="keep the corpus here, or use the one there")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step is not None:
        print(json.dumps(run_step(given.step, given.folder, given.jobs)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "recipe.json").exists():
            write_corpus(folder, given.utterances)
        show(measure(folder, given.utterances, given.steps, given.jobs), given.json)


if __name__ == "__main__":
    main()
