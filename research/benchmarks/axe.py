"""Time AXE on the shortened sequence against CTC on the full one, forward and backward.

    python -m research.benchmarks.axe [--json research/benchmarks/axe.json]

Both start from batch-first log-probabilities with gradient, as a model produces them. CTC is also
timed with time-first input, which saves a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from keyframe_asr.losses import axe_loss
from research.benchmarks.timing import argument_parser, comparison, in_turn, show

ROUNDS = 25


@dataclass(frozen=True)
class Sizes:
    """Batch, keyframes, frames, tokens of each utterance, vocabulary."""

    batch: int = 32
    keyframes: int = 24
    frames: int = 168
    tokens: int = 20
    vocabulary: int = 4233


def measure(rounds: int, sizes: Sizes) -> dict[str, Any]:
    """Measure the times of AXE and CTC."""
    batch, vocabulary = sizes.batch, sizes.vocabulary
    generator = torch.Generator().manual_seed(0)
    short, long = (
        torch.randn(batch, length, vocabulary, generator=generator).log_softmax(-1)
        for length in (sizes.keyframes, sizes.frames)
    )
    time_first = long.transpose(0, 1).contiguous()
    targets = torch.randint(1, vocabulary, (batch, sizes.tokens), generator=generator)
    keyframes, frames, tokens = (
        torch.full((batch,), length) for length in (sizes.keyframes, sizes.frames, sizes.tokens)
    )

    def axe() -> None:
        axe_loss(short.detach().requires_grad_(), targets, keyframes, tokens).backward()

    def ctc(log_probs: Tensor) -> None:
        torch.nn.functional.ctc_loss(log_probs, targets, frames, tokens).backward()

    contestants = {
        "axe": axe,
        "ctc": lambda: ctc(long.detach().requires_grad_().transpose(0, 1)),
        "ctc, time first": lambda: ctc(time_first.detach().requires_grad_()),
    }
    setting = dict(
        zip("BKULV", (batch, sizes.keyframes, sizes.frames, sizes.tokens, vocabulary), strict=True)
    )
    return comparison("axe", setting, in_turn(contestants, rounds))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args(arguments)
    show(measure(given.rounds, Sizes()), given.json)


if __name__ == "__main__":
    main()
