"""Read an utterance chunk by chunk while it is spoken, with a network that streams.

A chunk is read when its last feature is complete. The tokens of keyframes that are certain are
committed; what the CTC hears at keyframes that are not is partial text.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from keyframe_asr.audio.features import fbank_from, samples_of_frames
from keyframe_asr.audio.reading import Samples
from keyframe_asr.config.model import KeyframesConfig
from keyframe_asr.decoding.arrays import Floats
from keyframe_asr.decoding.confidence import scaled
from keyframe_asr.decoding.timestamps import LONGEST_TOKEN_SECONDS
from keyframe_asr.inference.batch_recognizer import BatchRecognizer
from keyframe_asr.inference.network import FeatureStream
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.stream_requests import ChunkStep, Steps, step
from keyframe_asr.results import Token
from keyframe_asr.streams.keyframe_commits import Spikes, commit_keyframes
from keyframe_asr.streams.state import FeatureOutput, FeatureState
from keyframe_asr.text.tokenizer import BLANK, END
from keyframe_asr.timing import FRAME_SHIFT_SAMPLES, SAMPLE_RATE


@dataclass(frozen=True)
class Heard:
    """What has been read of an utterance; a value.

    Attributes:
        begin: its first sample, counted from the start of the stream.
        network: state of the network.
        features: number of features that the network has had.
        spikes: of the CTC.
        waiting: labels of the CTC at keyframes that encoder 2 has not had yet.
        latest: start of its last token, in seconds since the start of the stream.
    """

    begin: int
    network: FeatureState
    features: int = 0
    spikes: Spikes = field(default_factory=Spikes)
    waiting: tuple[int, ...] = ()
    latest: float = 0.0


@dataclass(frozen=True)
class _Found:
    """A label and its probability at an encoder frame of the utterance."""

    frame: int
    label: int
    probability: float


class ChunkReader:
    """Reads utterances in chunks.

    Args:
        recognizer: its network streams.
        stream: of the network.
        mode: `axe` commits tokens of the length head, `ctc` those of the CTC.
    """

    def __init__(
        self, recognizer: BatchRecognizer, stream: FeatureStream, mode: DecodeMode
    ) -> None:
        self._recognizer, self._stream, self._mode = recognizer, stream, mode
        config = recognizer.config.model
        self._factor = config.subsampling.factor
        self._rules = KeyframesConfig(keep="peak")  # greedy CTC
        if mode == "axe":
            self._rules = KeyframesConfig(
                keep=config.keyframes.keep, blank_threshold=config.keyframes.blank_threshold
            )

    def start(self, begin: int) -> Heard:
        """Begin an utterance at this sample of the stream."""
        return Heard(begin, self._stream.start(), latest=begin / SAMPLE_RATE)

    @property
    def look_ahead(self) -> int:
        """Samples after a chunk that it sees."""
        return self._stream.look_ahead * self._factor * FRAME_SHIFT_SAMPLES

    def end_of_chunk(self, heard: Heard) -> int:
        """Samples of the stream after which the next chunk and its look-ahead are complete."""
        return heard.begin + samples_of_frames(heard.features + self._needed(heard))

    def _needed(self, heard: Heard) -> int:
        """Number of features that complete the next chunk and its look-ahead."""
        ahead = 0 if heard.features else self._stream.look_ahead
        return (self._stream.chunk + ahead) * self._factor

    def read(
        self, heard: Heard, samples: Samples, *, last: bool = False
    ) -> Steps[tuple[Heard, tuple[Token, ...], tuple[Token, ...]]]:
        """Read the next chunk, or with `last` all that is left.

        Args:
            heard: what has been read.
            samples: of the utterance, from `first_sample(heard.features)` on.
            last: the utterance ends with these samples.

        Returns:
            What has been read then, the tokens that are certain now, and those that may change.
            Their times are in seconds since the start of the stream.
        """
        features = fbank_from(self._recognizer.front_end, samples, heard.features)
        if not last:
            features = features[: self._needed(heard)]
        state, output = yield from step(ChunkStep(self._stream, heard.network, features, last))
        heard = replace(heard, network=state, features=heard.features + len(features))
        heard, found = self._found(heard, output, last)
        tokens = self._tokens(heard, found)
        heard = replace(heard, latest=tokens[-1].start if tokens else heard.latest)
        return heard, tokens, self._uncertain(heard)

    def _found(self, heard: Heard, output: FeatureOutput, last: bool) -> tuple[Heard, list[_Found]]:
        """The labels that are certain now, in order of time."""
        every_frame = not self._recognizer.network.keyframes_enabled
        columns = output.head_log_probs if every_frame else output.inter_log_probs
        spikes, found = _certain(heard.spikes, columns, self._rules)
        any_spike = spikes.has_keyframe or spikes.label is not None
        if last:
            spikes, more = _certain(spikes, columns[:0], self._rules, last=True)
            found += more
        if self._mode == "axe":
            queue = (*heard.waiting, *(one.label for one in found))
            heard = replace(heard, waiting=queue[len(output.keyframes) :])
            found = _best(output.keyframes.tolist(), output.head_log_probs)
        # without a spike, the only keyframe is that of the end, and no speech
        return replace(heard, spikes=spikes), found if any_spike else []

    def _tokens(self, heard: Heard, found: list[_Found]) -> tuple[Token, ...]:
        recognizer = self._recognizer
        found = [one for one in found if one.label not in (BLANK, END)]
        known = (heard.begin + heard.features * FRAME_SHIFT_SAMPLES) / SAMPLE_RATE
        starts = [heard.latest]
        for one in found:
            spike = one.frame * recognizer.network.frame_seconds
            after = max(spike - recognizer.config.emission_delay_seconds, 0.0)
            starts.append(min(max(heard.begin / SAMPLE_RATE + after, starts[-1]), known))
        ends = [
            min(start + LONGEST_TOKEN_SECONDS, following)
            for start, following in pairwise([*starts[1:], known])
        ]
        confidences = np.array([one.probability for one in found])
        if scaling := recognizer.confidences.get(self._mode):
            confidences = scaled(confidences, scaling)
        several = zip(found, starts[1:], ends, confidences.clip(0, 1).tolist(), strict=True)
        return tuple(
            Token(recognizer.piece(one.label), start, end, confidence)
            for one, start, end, confidence in several
        )

    def _uncertain(self, heard: Heard) -> tuple[Token, ...]:
        """What the CTC hears at keyframes that have no token yet."""
        labels = list(heard.waiting)
        if self._rules.keep == "peak" and heard.spikes.label is not None:
            labels.append(heard.spikes.label + BLANK + 1)
        pieces = [self._recognizer.piece(label) for label in labels if label != END]
        return tuple(Token(piece, heard.latest, heard.latest, 0.0) for piece in pieces)


def _certain(
    before: Spikes, columns: Floats, rules: KeyframesConfig, last: bool = False
) -> tuple[Spikes, list[_Found]]:
    """Spikes after the next columns (N, V), and those that are certain then."""
    spikes, frames = commit_keyframes(before, columns, rules, last=last)
    found = []
    for frame in frames:
        if frame >= before.frames:
            found += _best([frame], columns[frame - before.frames][None, BLANK + 1 :], BLANK + 1)
        else:  # the peak of a run that began before
            label = BLANK if before.label is None else before.label + BLANK + 1
            found.append(_Found(frame, label, float(np.exp(before.peak[1]))))
    return spikes, found


def _best(frames: list[int], columns: Floats, first_label: int = 0) -> list[_Found]:
    """The most probable label of each column (N, V)."""
    labels = (columns.argmax(axis=1) + first_label).tolist()
    sure = np.exp(columns.max(axis=1, initial=-np.inf)).tolist()
    return [_Found(*one) for one in zip(frames, labels, sure, strict=True)]
