"""A corpus of tones, each letter a pitch of its own, and a recipe that trains on it in seconds."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from keyframe_asr.config.recipe import Recipe, parse_config
from keyframe_asr.timing import SAMPLE_RATE

# Sums are repeated bit for bit on the CPU, and tensors this small are no work for another device.
os.environ["ACCELERATE_USE_CPU"] = "true"

LETTERS = "ABCDEF"
LETTER_SECONDS = 0.16
GAP_SECONDS = 0.08
HEADER = "utt_id\tspeaker\tduration_s\tpath\ttext\tsplit\n"
MEL_BINS = 16
MODEL = {
    "subsampling": {"channels": 8},
    "encoder": {
        "layers": 2,
        "keyframe_layer": 1,
        "dim": 16,
        "heads": 2,
        "feed_forward": 24,
        "kernel": 5,
    },
    "decoder": {"layers": 1, "heads": 2, "feed_forward": 24},
}


def tones(text: str, seed: int = 0) -> np.ndarray:
    """Samples (S,) of one tone a letter, with gaps between them, in a little noise."""
    time = np.arange(round(LETTER_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    gap = np.zeros(round(GAP_SECONDS * SAMPLE_RATE))
    parts = [gap]
    for letter in text:
        pitch = 300.0 * 1.5 ** LETTERS.index(letter)
        parts += [0.4 * np.sin(2 * np.pi * pitch * time), gap]
    clean = np.concatenate(parts)
    noise = np.random.default_rng(seed).normal(scale=0.01, size=clean.size)
    return (clean + noise).astype(np.float32)


def random_texts(count: int, seed: int, longest: int = 5) -> list[str]:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, longest + 1, size=count)
    return ["".join(generator.choice(list(LETTERS), size=size)) for size in sizes]


def write_corpus(
    folder: Path, splits: Mapping[str, Sequence[str]], name: str = "corpus.tsv"
) -> Path:
    """Write wav files and a table; `splits` maps train, dev, ... to texts."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [HEADER]
    for split, texts in splits.items():
        for number, text in enumerate(texts):
            utterance = f"{split}-{number:03d}"
            samples = tones(text, number)
            soundfile.write(folder / f"{utterance}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
            seconds = len(samples) / SAMPLE_RATE
            rows.append(f"{utterance}\tnobody\t{seconds:.4f}\t{utterance}.wav\t{text}\t{split}\n")
    table = folder / name
    table.write_text("".join(rows), encoding="utf-8")
    return table


def small_corpus(folder: Path) -> Path:
    return write_corpus(folder, {"train": random_texts(12, 1), "dev": random_texts(4, 2)})


ALL_FRAMES = {"inter_ctc": 0.3, "head": 0.3, "head_loss": "ctc", "decoder": 0.4}
KEYFRAMES = {"inter_ctc": 0.3, "head": 0.3, "head_loss": "axe", "decoder": 0.4}


def stage(name: str, epochs: int = 2, **changes: Any) -> dict[str, Any]:
    described = {
        "name": name,
        "epochs": epochs,
        "losses": KEYFRAMES if changes.get("keyframes") else ALL_FRAMES,
        "learning_rate": 2e-3,
        "warmup_steps": 2,
        "average_best": 2,
    }
    return described | changes


def three_stages(epochs: int = 2) -> list[dict[str, Any]]:
    return [
        stage("baseline", epochs),
        stage("fusion", epochs, fusion=True),
        stage("keyframes", epochs, fusion=True, keyframes=True),
    ]


def recipe_data(
    table: Path, stages: Sequence[Mapping[str, Any]], **training: Any
) -> dict[str, Any]:
    """A recipe as it would be read from YAML; `training` overrides that section."""
    return {
        "name": "tones",
        "seed": 5,
        "data": {"train": f"{table}:train", "dev": f"{table}:dev"},
        "features": {"num_mel_bins": MEL_BINS},
        "model": MODEL,
        "augment": {"time_mask_frames": 10, "frequency_mask_bins": 3},
        "training": {"batch_seconds": 4.0, "threads": 1} | training,
        "stages": list(stages),
    }


def tone_recipe(table: Path, stages: Sequence[Mapping[str, Any]], **training: Any) -> Recipe:
    return parse_config(Recipe, recipe_data(table, stages, **training), "tones")
