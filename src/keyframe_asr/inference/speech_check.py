"""Decide from the model's output whether a region of a recording is speech.

The inter-CTC spikes in noise too, but differently. Three statistics of a region distinguish speech
from noise; their weights are fitted on speech and non-speech and stored in the model folder:

- `doubt`: log of the summed inter-CTC entropy (nats) in and around the region, per keyframe. The
  entropy is low between the spikes of speech, and stays high in noise.
- `agreement`: probability that labels drawn from inter-CTC and length head are equal.
- `hesitation`: log of the length head's entropy, averaged over the keyframes.

The check works on regions, not recordings, so that noise next to speech gets no text either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from keyframe_asr.config.calibration import SpeechCheckConfig
from keyframe_asr.decoding.arrays import Floats
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.inference.network import EncodedBatch, RecognitionNetwork

PAUSE_SECONDS = 1.0
"""Keyframes further apart than this belong to different regions."""

CONTEXT_SECONDS = 1.0
"""The inter-CTC's entropy is summed this far before and after a region too."""

SMALLEST_ENTROPY = 0.01
"""Added to an entropy (nats) before the logarithm."""


@dataclass(frozen=True)
class SpeechRegion:
    """Keyframes without a long pause between them.

    The regions of a recording with keyframes cover all its frames.

    Attributes:
        first: first encoder frame of the region.
        stop: encoder frame after its last.
        keyframes: number of keyframes.
        statistics: `doubt`, `agreement` and `hesitation`.
    """

    first: int
    stop: int
    keyframes: int
    statistics: tuple[float, float, float]


def speech_score(region: SpeechRegion, check: SpeechCheckConfig) -> float:
    """Return the log-odds that a region is speech, minus the threshold; below 0 is non-speech."""
    doubt, agreement, hesitation = region.statistics
    weighted = check.doubt * doubt + check.agreement * agreement + check.hesitation * hesitation
    return check.bias + weighted


def speech_regions(network: RecognitionNetwork, encoded: EncodedBatch) -> list[list[SpeechRegion]]:
    """Return the regions of each recording of a batch, in order of time."""
    inter, lengths = encoded.inter_log_probs, encoded.frame_lengths
    keyframes, kept, head = encoded.keyframes, encoded.keyframe_lengths, encoded.head_log_probs
    row = np.arange(len(lengths))[:, None]
    if not network.keyframes_enabled:
        keyframes, kept = network.select_keyframes(inter, lengths)
        head = head[row, keyframes]
    agreement = np.exp(inter[row, keyframes] + head).sum(axis=-1)
    measured = _entropy(inter), agreement, _entropy(head)
    pause, context = (
        round(one / network.frame_seconds) for one in (PAUSE_SECONDS, CONTEXT_SECONDS)
    )
    found = []
    for place, (frames, count) in enumerate(zip(lengths.tolist(), kept.tolist(), strict=True)):
        index = keyframes[place, :count]
        doubt, agreeing, hesitation = (one[place] for one in measured)
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


def non_speech_frames(
    regions: Sequence[SpeechRegion], check: SpeechCheckConfig
) -> tuple[tuple[int, int], ...]:
    """Return the frames [first, stop) of the regions that are non-speech."""
    return tuple(
        (region.first, region.stop) for region in regions if speech_score(region, check) < 0
    )


def keep_speech(
    hypothesis: Hypothesis, frames: Sequence[int], non_speech: Sequence[tuple[int, int]]
) -> Hypothesis:
    """Remove the tokens in non-speech frames from a hypothesis.

    Args:
        hypothesis: returned unchanged if its tokens have no positions.
        frames: source frame of each column that its positions refer to.
        non_speech: ranges [first, stop) of frames.
    """
    if not non_speech or not hypothesis.positions:
        return hypothesis
    kept = [
        index
        for index, position in enumerate(hypothesis.positions)
        if not any(first <= frames[position] < stop for first, stop in non_speech)
    ]
    return replace(
        hypothesis,
        tokens=tuple(hypothesis.tokens[index] for index in kept),
        positions=tuple(hypothesis.positions[index] for index in kept),
        confidences=tuple(hypothesis.confidences[index] for index in kept),
        # the alternatives have tokens in these frames, too
        alternatives=hypothesis.alternatives if len(kept) == len(hypothesis.positions) else (),
    )


def _parts(
    index: npt.NDArray[np.int64], frames: int, pause: int
) -> list[tuple[npt.NDArray[np.int64], int, int]]:
    """Split keyframes into regions: their indices, and the frames [first, stop) of the region."""
    if not len(index):
        return []
    parts = np.split(np.arange(len(index)), np.flatnonzero(np.diff(index) > pause) + 1)
    # regions meet in the middle of the pause between them
    edges = [int(index[before[-1]] + index[after[0]]) // 2 + 1 for before, after in pairwise(parts)]
    return list(zip(parts, [0, *edges], [*edges, frames], strict=True))


def _entropy(log_probs: Floats) -> Floats:
    """Return the entropy (B, N) in nats of log-probabilities (B, N, V)."""
    entropy: Floats = -(np.exp(log_probs) * log_probs).sum(axis=-1)
    return entropy


def _log(nats: float) -> float:
    return float(np.log(nats + SMALLEST_ENTROPY))
