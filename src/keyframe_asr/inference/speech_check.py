"""Whether a region of sound is speech at all, from what the model itself says of it.

Noise makes an inter-CTC spike too, but not as speech does. Three statistics of a region tell them
apart; a model folder stores how they are weighed, measured on speech and on sounds without any:

- `doubt`: log of the inter-CTC's entropy (nats) in and around the region, per keyframe. It is
  sure of blank between the spikes of speech; in noise it hesitates for long to write one token.
- `agreement`: probability that inter-CTC and length head, each asked for a label, give the same.
- `hesitation`: log of the length head's entropy, mean over the keyframes.

The check works on regions and not on recordings, so that noise beside speech gets no text either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from keyframe_asr.config.calibration import SpeechCheckConfig
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.model.keyframes import select_keyframes
from keyframe_asr.model.network import Encoded, KeyframeNetwork

PAUSE_SECONDS = 1.0
"""Keyframes further apart than this belong to different regions."""

CONTEXT_SECONDS = 1.0
"""How far before and after a region the inter-CTC's doubt is counted."""

SMALLEST_ENTROPY = 0.01
"""Nats that are added before a logarithm is taken."""


@dataclass(frozen=True)
class SpeechRegion:
    """Keyframes without a longer pause between them.

    Attributes:
        first: the first encoder frame that it stands for; the regions of a recording that has a
            keyframe cover all its frames.
        stop: the frame after its last.
        keyframes: how many it has.
        statistics: `doubt`, `agreement` and `hesitation`.
    """

    first: int
    stop: int
    keyframes: int
    statistics: tuple[float, float, float]


def speech_score(region: SpeechRegion, check: SpeechCheckConfig) -> float:
    """Log-odds that the region is speech, less the threshold: below 0 it is taken for none."""
    doubt, agreement, hesitation = region.statistics
    weighted = check.doubt * doubt + check.agreement * agreement + check.hesitation * hesitation
    return check.bias + weighted


@torch.inference_mode()
def speech_regions(
    network: KeyframeNetwork, encoded: Encoded, frame_seconds: float
) -> list[list[SpeechRegion]]:
    """The regions of each recording of a batch, in order of time; none of one without frames."""
    inter, lengths = encoded.inter_log_probs, encoded.frame_lengths
    keyframes, head = encoded.keyframes, encoded.head_log_probs
    if not network.keyframes_enabled:
        keyframes = select_keyframes(inter, lengths, network.policy)
        head = keyframes.gather(head)
    agreement = (keyframes.gather(inter) + head).logsumexp(dim=-1).exp()
    measured = [one.cpu().numpy() for one in (_entropy(inter), agreement, _entropy(head))]
    pause, context = (round(one / frame_seconds) for one in (PAUSE_SECONDS, CONTEXT_SECONDS))
    found = []
    for row, (frames, kept) in enumerate(
        zip(lengths.tolist(), keyframes.lengths.tolist(), strict=True)
    ):
        index = keyframes.index[row, :kept].cpu().numpy()
        doubt, agreeing, hesitation = (one[row] for one in measured)
        regions = []
        for part, first, stop in _parts(index, frames, pause):
            begin, end = max(0, index[part[0]] - context), index[part[-1]] + context + 1
            statistics = (
                _log(doubt[begin : min(end, frames)].sum() / len(part)),
                float(agreeing[part].mean()),
                _log(hesitation[part].mean()),
            )
            regions.append(SpeechRegion(first, stop, len(part), statistics))
        found.append(regions)
    return found


def without_speech(
    regions: Sequence[SpeechRegion], check: SpeechCheckConfig
) -> tuple[tuple[int, int], ...]:
    """The frames [first, stop) of the regions that are no speech."""
    refused = (one for one in regions if speech_score(one, check) < 0)
    return tuple((one.first, one.stop) for one in refused)


def keep_speech(
    hypothesis: Hypothesis, frames: Sequence[int], refused: Sequence[tuple[int, int]]
) -> Hypothesis:
    """The hypothesis without the tokens found in refused frames.

    Args:
        hypothesis: with a position for every token; one without positions is left alone.
        frames: source frame of each column that its positions count in.
        refused: ranges [first, stop) of frames.
    """
    if not refused or not hypothesis.positions:
        return hypothesis
    kept = [
        place
        for place, position in enumerate(hypothesis.positions)
        if not any(first <= frames[position] < stop for first, stop in refused)
    ]
    return replace(
        hypothesis,
        tokens=tuple(hypothesis.tokens[place] for place in kept),
        positions=tuple(hypothesis.positions[place] for place in kept),
        confidences=tuple(hypothesis.confidences[place] for place in kept),
        # the others hold tokens of what was refused, too
        alternatives=hypothesis.alternatives if len(kept) == len(hypothesis.positions) else (),
    )


def _parts(
    index: npt.NDArray[np.int64], frames: int, pause: int
) -> list[tuple[npt.NDArray[np.int64], int, int]]:
    """Places of the keyframes of each region, and the frames [first, stop) it stands for."""
    if not len(index):
        return []
    parts = np.split(np.arange(len(index)), np.flatnonzero(np.diff(index) > pause) + 1)
    # the pause between two regions is shared half and half
    edges = [int(index[before[-1]] + index[after[0]]) // 2 + 1 for before, after in pairwise(parts)]
    return list(zip(parts, [0, *edges], [*edges, frames], strict=True))


def _entropy(log_probs: Tensor) -> Tensor:
    """Nats (B, N) of log-probabilities (B, N, V)."""
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def _log(nats: float) -> float:
    return float(np.log(nats + SMALLEST_ENTROPY))
