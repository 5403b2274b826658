"""What recognition needs of a network, in arrays, whatever computes it.

`inference.torch_network` and `inference.onnx_network` implement it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from keyframe_asr.config.streaming import StreamingConfig
from keyframe_asr.decoding.arrays import Floats, Integers
from keyframe_asr.decoding.decoder import BatchDecoder
from keyframe_asr.streams.state import FeatureOutput, FeatureState

CANNOT_STREAM = (
    "the model cannot stream: its encoders see whole utterances (model.encoder.streaming is null); "
    "take one that was trained with it, such as an4-streaming, or leave chunk and look-ahead out"
)


@dataclass(frozen=True)
class EncodedBatch:
    """Output of the encoders and heads for B utterances.

    Attributes:
        inter_log_probs: (B, U, V) log-probabilities of the inter-CTC, one per encoder frame.
        frame_lengths: (B,) encoder frames of each utterance.
        keyframes: (B, K) source frames of encoder 2's input, ascending; all frames if keyframes are
            off; 0 past the length.
        keyframe_lengths: (B,) their numbers.
        memory: (B, K, D) output of encoder 2.
        head_log_probs: (B, K, V) log-probabilities of the length head; of the final CTC if
            keyframes are off.
        attended_lengths: (B,) vectors of each utterance that the decoder attends to.
        attended: those vectors, wherever the network keeps them.
        places: (B,) place of each utterance in `attended`.
    """

    inter_log_probs: Floats
    frame_lengths: Integers
    keyframes: Integers
    keyframe_lengths: Integers
    memory: Floats
    head_log_probs: Floats
    attended_lengths: Integers
    attended: object = field(repr=False)
    places: Integers

    def rows(self, chosen: Sequence[int] | Integers) -> EncodedBatch:
        """Select utterances of the batch."""
        index = np.asarray(chosen, dtype=np.int64)
        return replace(
            self,
            inter_log_probs=self.inter_log_probs[index],
            frame_lengths=self.frame_lengths[index],
            keyframes=self.keyframes[index],
            keyframe_lengths=self.keyframe_lengths[index],
            memory=self.memory[index],
            head_log_probs=self.head_log_probs[index],
            attended_lengths=self.attended_lengths[index],
            places=self.places[index],
        )


def streamed_batch(outputs: Sequence[FeatureOutput]) -> EncodedBatch:
    """What streams gave in all, as a batch; its decoder has nothing to attend to."""
    frame_lengths, keyframe_lengths = (
        np.array([len(one) for one in several], dtype=np.int64)
        for several in zip(*((one.inter_log_probs, one.keyframes) for one in outputs), strict=True)
    )
    nothing = np.zeros((len(outputs), int(keyframe_lengths.max()), 0), dtype=np.float32)
    return EncodedBatch(
        inter_log_probs=_padded([one.inter_log_probs for one in outputs]),
        frame_lengths=frame_lengths,
        keyframes=_padded([one.keyframes for one in outputs]),
        keyframe_lengths=keyframe_lengths,
        memory=nothing,
        head_log_probs=_padded([one.head_log_probs for one in outputs]),
        attended_lengths=keyframe_lengths,
        attended=None,
        places=np.arange(len(outputs)),
    )


def _padded(rows: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Join arrays (N, ...) of several lengths with zeros at the end: (B, N, ...)."""
    joined = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), dtype=rows[0].dtype)
    for place, row in enumerate(rows):
        joined[place, : len(row)] = row
    return joined


class FeatureStream(Protocol):
    """The network on streams of features, each of which is a value.

    Attributes:
        chunk: encoder frames per chunk; nothing is computed before a chunk is complete.
        left_chunks: chunks before its own that a frame sees.
        look_ahead: encoder frames after its chunk that a frame sees.
    """

    chunk: int
    left_chunks: int
    look_ahead: int

    def start(self) -> FeatureState:
        """The state before the first features of an utterance."""

    def step(
        self, states: Sequence[FeatureState], features: Sequence[Floats], last: Sequence[bool]
    ) -> tuple[list[FeatureState], list[FeatureOutput]]:
        """Take the next features of several utterances; none changes what another gives.

        Args:
            states: of each utterance.
            features: (T, F) float32 of each, of the model's front end; T may be 0.
            last: whether the utterance ends after these features.

        Raises:
            ValueError: an utterance has ended, the numbers of states, features and `last` differ,
                or log-probabilities are NaN.
        """
        ...

    def simulated(self, features: Sequence[Floats]) -> list[FeatureOutput]:
        """What streams of these whole utterances, (T, F) each, give in all."""
        ...


class RecognitionNetwork(Protocol):
    """A network in evaluation mode."""

    @property
    def device_name(self) -> str:
        """Name of the GPU that computes, or "cpu"."""

    @property
    def threads(self) -> int:
        """CPU threads that compute."""

    @property
    def frame_seconds(self) -> float:
        """Seconds between consecutive encoder frames."""

    @property
    def keyframes_enabled(self) -> bool:
        """True if encoder 2 sees keyframes only, and its head is a length head."""

    @property
    def blank_threshold(self) -> float | None:
        """A frame is blank if the probability of blank exceeds this; None: if blank is best."""

    @property
    def decoder_kind(self) -> Literal["own", "pretrained"] | None:
        """Whether there is a decoder, and whether its tokens are the model's own."""

    def encode(self, features: Sequence[Floats], *, pre_encoded: bool = False) -> EncodedBatch:
        """Run both encoders and both heads.

        Args:
            features: (T, F) float32 of each utterance, as the model's front end computes them.
            pre_encoded: they are outputs of the pretrained encoder, which does not run then.
        """
        ...

    def select_keyframes(self, log_probs: Floats, lengths: Integers) -> tuple[Integers, Integers]:
        """The keyframes (B, K) that CTC log-probabilities (B, U, V) choose, and their numbers."""
        ...

    def decoder(self, encoded: EncodedBatch) -> BatchDecoder:
        """The decoder of the utterances of a batch; there must be one."""
        ...

    @property
    def streaming(self) -> StreamingConfig | None:
        """How the network can stream; None if it cannot."""

    def stream(self, chunk: int | None = None, look_ahead: int | None = None) -> FeatureStream:
        """The network on streams of features.

        Args:
            chunk: encoder frames per chunk, at least 1. Default: that of the model.
            look_ahead: encoder frames after its chunk that a frame sees. Default: that of the
                model.

        Raises:
            ModelError: the model cannot stream, or its graphs cannot.
        """
        ...
