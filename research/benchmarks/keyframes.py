"""Time keyframe selection and frame fusion against a plain Python loop on the same input.

    python -m research.benchmarks.keyframes [--device cuda]
        [--json research/benchmarks/keyframes.json]

Batch 32, 168 frames (6.7 s), vocabulary 4,233, 24 spikes in each padded row, attention fusion of
three frames of width 256. The arg-max over the vocabulary, which both need, is listed separately.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from keyframe_asr.config.model import FusionConfig
from keyframe_asr.model.fusion import FrameFusion
from keyframe_asr.model.keyframes import Keyframes, select_keyframes
from research.benchmarks.timing import argument_parser, in_turn, processor, show

BATCH, FRAMES, VOCABULARY, DIM, SPIKES = 32, 168, 4233, 256, 24
ROUNDS = 20


def spiky_log_probs(device: str) -> Tensor:
    """Return log-probs (B, U, V): mostly blank, with runs of one to three frames of a label."""
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
    """Select keyframes by `itertools.groupby`, utterance by utterance, without fill-ups."""
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
    """Fuse frames, keyframe by keyframe."""
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


def measure(device: str, rounds: int) -> dict[str, Any]:
    """Measure all times, after checking that both ways return the same keyframes and frames."""
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
    contestants = {
        "arg_max": lambda: log_probs.max(-1),
        "select": lambda: select_keyframes(log_probs, lengths),
        "select_loop": lambda: loop_select(log_probs, lengths),
        "fusion": lambda: fusion(frames, lengths, keyframes),
        "fusion_loop": lambda: loop_fuse(fusion, frames, lengths, kept),
    }
    times = in_turn(contestants, rounds, device=device)
    return {
        "machine": machine(device),
        "torch": torch.__version__,
        **{f"{name}_ms": round(1000 * statistics.median(one), 3) for name, one in times.items()},
        "keyframes_per_utterance": round(float(keyframes.lengths.float().mean()), 2),
    }


def machine(device: str) -> str:
    """Return the name of the machine."""
    if device != "cpu":
        return str(torch.cuda.get_device_name())
    return f"{processor()}, {torch.get_num_threads()} thread(s)"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    with torch.inference_mode():
        show(measure(given.device, given.rounds), given.json)


if __name__ == "__main__":
    main()
