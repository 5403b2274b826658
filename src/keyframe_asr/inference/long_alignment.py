"""Forced alignment of recordings of any length, in bounded memory.

The recording is cut into segments as for recognition (`inference.segmentation`), which are encoded
one after another. Their frames, without what segments share, make one sequence, on which the whole
text is aligned (`decoding.online_alignment`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from keyframe_asr.audio.loudness import SpeechLevel
from keyframe_asr.audio.reading import Samples
from keyframe_asr.decoding.arrays import Floats
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.online_alignment import OnlineAlignment, TokenPath
from keyframe_asr.decoding.timestamps import timed_tokens
from keyframe_asr.inference.batch_recognizer import BatchRecognizer, EncodedAudio
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.inference.segmentation import AudioSegment, audio_segments, speech_detector
from keyframe_asr.results import Token
from keyframe_asr.timing import SAMPLE_RATE

_SEGMENTATION = replace(RecognitionOptions.segmentation, padding=0.0)


@dataclass(frozen=True)
class LongAlignment:
    """The tokens of a long recording, with times, and their path.

    `times` (T,) is the start of each frame in seconds, `duration` that of the recording, and
    `frame_reduction` the fraction of frames dropped before encoder 2.
    """

    tokens: list[Token]
    path: TokenPath
    times: npt.NDArray[np.float64]
    duration: float
    frame_reduction: float


@dataclass(frozen=True)
class _Part:
    """Frames of a segment: the first of all frames, the first of its own, and their number."""

    first: int
    own: int
    count: int
    start: float
    seconds: float
    level: SpeechLevel | None


def align_blocks(
    recognizer: BatchRecognizer, blocks: Iterable[Samples], tokens: Sequence[int]
) -> tuple[LongAlignment | None, float]:
    """Align token ids with a recording that is read in blocks of samples (S,).

    Returns:
        the alignment, None if the tokens do not fit, and the duration in seconds.
    """
    path = OnlineAlignment(np.asarray(tokens, dtype=np.int64))
    counter = _Counter(blocks)
    parts: list[_Part] = []
    frames = keyframes = read = 0
    for segment in audio_segments(counter, speech_detector(), _SEGMENTATION):
        encoded = recognizer.encode([segment.samples])
        frames, keyframes = frames + encoded.frames[0], keyframes + encoded.keyframes[0]
        part = _part(recognizer, segment, encoded, read)
        if part.count:
            log_probs = ctc_log_probs(recognizer, encoded)[0, part.own : part.own + part.count]
            path.push(log_probs)
            parts.append(part)
            read += part.count
    whole = path.finish()
    if whole is None:
        return None, counter.seconds
    step = recognizer.network.frame_seconds
    times = np.concatenate(
        [part.start + (part.own + np.arange(part.count)) * step for part in parts]
    )
    timed = _timed(recognizer, tokens, whole, parts, counter.seconds)
    reduction = 1 - keyframes / frames if frames else 0.0
    found = LongAlignment(timed, whole, times, counter.seconds, reduction)
    return found, counter.seconds


class _Counter:
    """Blocks of samples, and the seconds that went by."""

    def __init__(self, blocks: Iterable[Samples]) -> None:
        self._blocks = blocks
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Samples]:
        samples = 0
        for block in self._blocks:
            samples += block.size
            self.seconds = samples / SAMPLE_RATE
            yield block


def ctc_log_probs(recognizer: BatchRecognizer, audio: EncodedAudio) -> Floats:
    """Log-probabilities (B, U, V) on which a model is aligned.

    Encoder 2 of a model with keyframes does not see the frames between the spikes, so such a model
    is aligned on its inter-CTC, any other on its final CTC.
    """
    encoded = audio.encoded
    with_keyframes = recognizer.network.keyframes_enabled
    return encoded.inter_log_probs if with_keyframes else encoded.head_log_probs


def _part(
    recognizer: BatchRecognizer, segment: AudioSegment, encoded: EncodedAudio, first: int
) -> _Part:
    """Return the frames of a segment that belong to it and to no other."""
    step = recognizer.network.frame_seconds
    bounds = segment.bounds
    before = max(bounds.start - bounds.audio_start, 0) / SAMPLE_RATE
    own = min(math.ceil(before / step), encoded.frames[0])
    inside = (bounds.end - bounds.audio_start) / SAMPLE_RATE
    count = min(encoded.frames[0], math.ceil(inside / step)) - own
    start = bounds.audio_start / SAMPLE_RATE
    level = encoded.levels[0] if encoded.levels else None
    return _Part(first, own, max(count, 0), start, encoded.seconds[0], level)


def _timed(
    recognizer: BatchRecognizer,
    tokens: Sequence[int],
    path: TokenPath,
    parts: Sequence[_Part],
    duration: float,
) -> list[Token]:
    """Return the tokens with times in the recording, which never decrease."""
    step = recognizer.network.frame_seconds
    found: list[Token] = []
    for part in parts:
        low, high = np.searchsorted(path.positions, (part.first, part.first + part.count))
        hypothesis = Hypothesis(
            tokens=tuple(tokens[low:high]),
            score=0.0,
            positions=tuple((path.positions[low:high] - part.first).tolist()),
            confidences=tuple(path.confidences[low:high].tolist()),
        )
        own = timed_tokens(
            hypothesis,
            range(part.own, part.own + part.count),
            step,
            part.seconds,
            recognizer.piece,
            recognizer.config.emission_delay_seconds,
            part.level,
        )
        for token in own:
            start = min(max(token.start + part.start, found[-1].start if found else 0.0), duration)
            end = min(max(token.end + part.start, start), duration)
            found.append(replace(token, start=start, end=end))
    return found
