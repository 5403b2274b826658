"""Time keyframe selection and frame fusion against a plain Python loop on the same input.

    python benchmarks/keyframes.py [--device cuda] [--json benchmarks/keyframes.json]

Batch 32, 168 frames (6.7 s), vocabulary 4,233, 24 spikes in each padded row, attention fusion of
three frames of width 256. The arg-max over the vocabulary, which both need, is listed on its own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from keyframe_asr.config.model import FusionConfig
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.model.fusion import FrameFusion
from keyframe_asr.model.keyframes import Keyframes, select_keyframes

BATCH, FRAMES, VOCABULARY, DIM, SPIKES = 32, 168, 4233, 256, 24
WARM_UP, REPEATS = 3, 20


def spiky_log_probs(device: str) -> Tensor:
    """(B, U, V): blank nearly everywhere, runs of one to three frames of a label in between."""
    torch.manual_seed(0)
    logits = torch.randn(BATCH, FRAMES, VOCABULARY)
    logits[..., 0] += 12
    for row in logits:
        starts = torch.randperm(FRAMES // 4)[:SPIKES] * 4
        for start in starts.tolist():
            length, label = int(torch.randint(1, 4, ())), int(torch.randint(1, VOCABULARY, ()))
            row[start : start + length, label] += 16 + torch.rand(length)
    return logits.log_softmax(-1).to(device)


def loop_select(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """Keyframes by `itertools.groupby`, an utterance at a time (for spiky input: no fill-ups)."""
    score, label = log_probs.max(-1)
    kept = []
    for scores, labels, length in zip(
        score.tolist(), label.tolist(), lengths.tolist(), strict=True
    ):
        runs = itertools.groupby(range(length), key=labels.__getitem__)
        kept.append([max(run, key=scores.__getitem__) for token, run in runs if token != 0])
    return kept


def loop_fuse(
    fusion: FrameFusion, frames: Tensor, lengths: Tensor, kept: list[list[int]]
) -> Tensor:
    """Fusion, a keyframe at a time."""
    width = max(map(len, kept))
    fused = frames.new_zeros(BATCH, width, DIM)
    for place, (row, length) in enumerate(zip(kept, lengths.tolist(), strict=True)):
        for column, centre in enumerate(row):
            window = [d for d in fusion.offsets if 0 <= centre + d < length]
            neighbours = frames[place, [centre + d for d in window]]
            scores = fusion.key(neighbours) @ fusion.query(frames[place, centre])
            bias = fusion.offset_bias[[fusion.offsets.index(d) for d in window]]
            weights = (scores / fusion.key.out_features**0.5 + bias).softmax(0)
            fused[place, column] = weights @ neighbours
    return fused


def median_ms(work: Callable[[], object], device: str) -> float:
    """Median milliseconds of `work` over `REPEATS` calls."""
    times = []
    for _ in range(WARM_UP + REPEATS):
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(times[WARM_UP:]), 3)


def measure(device: str) -> dict[str, float]:
    """All timings, after checking that both ways give the same keyframes and fused frames."""
    log_probs = spiky_log_probs(device)
    lengths = torch.randint(FRAMES // 2, FRAMES + 1, (BATCH,)).to(device)
    frames = torch.randn(BATCH, FRAMES, DIM, device=device)
    fusion = FrameFusion(DIM, FusionConfig()).to(device)
    kept = loop_select(log_probs, lengths)
    keyframes: Keyframes = select_keyframes(log_probs, lengths)
    chosen = [
        row[:count]
        for row, count in zip(keyframes.index.tolist(), keyframes.lengths.tolist(), strict=True)
    ]
    if chosen != kept:
        raise SystemExit("the loop and select_keyframes choose different frames")
    torch.testing.assert_close(
        fusion(frames, lengths, keyframes), loop_fuse(fusion, frames, lengths, kept)
    )
    return {
        "arg_max_ms": median_ms(lambda: log_probs.max(-1), device),
        "select_ms": median_ms(lambda: select_keyframes(log_probs, lengths), device),
        "select_loop_ms": median_ms(lambda: loop_select(log_probs, lengths), device),
        "fusion_ms": median_ms(lambda: fusion(frames, lengths, keyframes), device),
        "fusion_loop_ms": median_ms(lambda: loop_fuse(fusion, frames, lengths, kept), device),
        "keyframes_per_utterance": round(float(keyframes.lengths.float().mean()), 2),
    }


def machine(device: str) -> str:
    """The processor that was timed."""
    if device != "cpu":
        return str(torch.cuda.get_device_name())
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} thread(s)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with torch.inference_mode():
        result = {
            "machine": machine(arguments.device),
            "torch": torch.__version__,
            **measure(arguments.device),
        }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        write_whole(arguments.json, text + "\n")


if __name__ == "__main__":
    main()
