"""Keyframes of a stream, each as soon as it is certain: `select_keyframes`, frame by frame.

The first frame of a run of equal labels is certain at once. Its most probable frame is certain when
the run has ended, with the next frame at the latest. That an utterance keeps at least one frame is
decided at its end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from keyframe_asr.config.model import KeyframesConfig

Floats = npt.NDArray[np.float32]

BLANK = 0
"""Label of blank."""


@dataclass(frozen=True)
class Spikes:
    """What is known of an utterance so far; a value that is never changed.

    Attributes:
        frames: number of frames.
        label: label of the run at its end; None if the last frame is blank.
        peak: most probable frame of this run, and its log-probability; the earliest in a tie.
        least_blank: frame of lowest blank log-probability, and this; the earliest in a tie.
        has_keyframe: a keyframe is certain.
    """

    frames: int = 0
    label: int | None = None
    peak: tuple[int, float] = (0, -math.inf)
    least_blank: tuple[int, float] = (0, math.inf)
    has_keyframe: bool = False

    def candidates(self, config: KeyframesConfig) -> list[int]:
        """The frames so far that may still become keyframes."""
        found = []
        if config.keep == "peak" and self.label is not None:
            found.append(self.peak[0])
        if self.frames and not self.has_keyframe:
            found.append(self.least_blank[0])
        return found


def commit_keyframes(
    spikes: Spikes, log_probs: Floats, config: KeyframesConfig, *, last: bool = False
) -> tuple[Spikes, list[int]]:
    """Take the next frames of an utterance.

    Args:
        spikes: what is known of the frames before.
        log_probs: (N, V) log-probabilities of the inter-CTC; may be empty.
        config: the selection rules.
        last: the utterance ends after these frames.

    Returns:
        What is known now, and the keyframes that have become certain, ascending: source frames of
        the utterance.

    Raises:
        ValueError: `log_probs` contain NaN or +inf.
    """
    blank, others = log_probs[:, BLANK], log_probs[:, BLANK + 1 :]
    if not ((blank < np.inf) & (others.max(axis=1, initial=-np.inf) < np.inf)).all():
        raise ValueError(f"log_probs contain NaN or +inf after frame {spikes.frames}")
    labels = others.argmax(axis=1)
    scores = np.take_along_axis(others, labels[:, None], axis=1)[:, 0]
    threshold = config.blank_threshold
    spiking = blank < scores if threshold is None else blank <= np.float32(math.log(threshold))
    certain: list[int] = []
    frame_by_frame = zip(
        spiking.tolist(), labels.tolist(), scores.tolist(), blank.tolist(), strict=True
    )
    for is_spike, label, score, of_blank in frame_by_frame:
        spikes, found = _next_frame(spikes, (label if is_spike else None), score, of_blank, config)
        certain += found
    if last:
        spikes, found = _at_the_end(spikes, config)
        certain += found
    return spikes, certain


def _next_frame(
    spikes: Spikes, label: int | None, score: float, of_blank: float, config: KeyframesConfig
) -> tuple[Spikes, list[int]]:
    frame, certain = spikes.frames, []
    peak = spikes.peak
    if label != spikes.label:
        if spikes.label is not None and config.keep == "peak":
            certain.append(peak[0])
        if label is not None and config.keep == "first":
            certain.append(frame)
        peak = (frame, score)
    elif score > peak[1]:
        peak = (frame, score)
    least = (frame, of_blank) if of_blank < spikes.least_blank[1] else spikes.least_blank
    has_keyframe = spikes.has_keyframe or bool(certain)
    return Spikes(frame + 1, label, peak, least, has_keyframe), certain


def _at_the_end(spikes: Spikes, config: KeyframesConfig) -> tuple[Spikes, list[int]]:
    certain = [spikes.peak[0]] if config.keep == "peak" and spikes.label is not None else []
    if not certain and not spikes.has_keyframe and spikes.frames:
        certain = [spikes.least_blank[0]]
    ended = replace(spikes, label=None, has_keyframe=spikes.has_keyframe or bool(certain))
    return ended, certain
