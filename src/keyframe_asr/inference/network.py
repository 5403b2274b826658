"""What recognition needs of a network, in arrays, whatever computes it.

`inference.torch_network` and `inference.onnx_network` implement it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np

from keyframe_asr.decoding.arrays import Floats, Integers
from keyframe_asr.decoding.decoder import BatchDecoder


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
