"""What the encoders of the network return for a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from keyframe_asr.model.chunks import Chunks
from keyframe_asr.model.keyframes import Keyframes


@dataclass(frozen=True)
class EncodedFrames:
    """Output of what hears every frame.

    Attributes:
        frames: (B, U, D) output of encoder 1.
        lengths: (B,) encoder frames per utterance.
        inter_log_probs: (B, U, V) log-probabilities of the inter-CTC.
        outputs: (B, T, F) fbank, or outputs of the pretrained encoder, from which they come.
        output_lengths: (B,).
        chunks: what a stream would see of each utterance; None: all of it.
    """

    frames: Tensor
    lengths: Tensor
    inter_log_probs: Tensor
    outputs: Tensor
    output_lengths: Tensor
    chunks: Chunks | None = None


@dataclass(frozen=True)
class Encoded:
    """Output of the encoders and heads for a batch.

    Attributes:
        inter_log_probs: (B, U, V) log-probabilities of the inter-CTC, one per encoder frame.
        frame_lengths: (B,) encoder frames per utterance.
        keyframes: source frames of encoder 2's input; all frames if keyframes are off.
        memory: (B, K, D) output of encoder 2.
        head_log_probs: (B, K, V) log-probabilities of the length head; of the final CTC if
            keyframes are off.
        decoder_memory: vectors (B, M, D) that a pretrained decoder attends to, and their numbers
            (B,); None for another decoder, which attends to the output of encoder 2.
        upper: (B, K, W) output of the pretrained encoder's layers that run on keyframes; None if
            there are none.
    """

    inter_log_probs: Tensor
    frame_lengths: Tensor
    keyframes: Keyframes
    memory: Tensor
    head_log_probs: Tensor
    decoder_memory: tuple[Tensor, Tensor] | None = None
    upper: Tensor | None = None

    @property
    def attended(self) -> tuple[Tensor, Tensor]:
        """What the decoder attends to: vectors (B, M, D), and their numbers (B,)."""
        return self.decoder_memory or (self.memory, self.keyframes.lengths)

    def rows(self, chosen: Tensor) -> Encoded:
        """Select utterances (B',) of the batch."""
        memory = self.decoder_memory
        return Encoded(
            self.inter_log_probs[chosen],
            self.frame_lengths[chosen],
            Keyframes(self.keyframes.index[chosen], self.keyframes.lengths[chosen]),
            self.memory[chosen],
            self.head_log_probs[chosen],
            None if memory is None else (memory[0][chosen], memory[1][chosen]),
            None if self.upper is None else self.upper[chosen],
        )

    def detach(self) -> Encoded:
        """A copy without gradient."""
        memory = self.decoder_memory
        return replace(
            self,
            inter_log_probs=self.inter_log_probs.detach(),
            memory=self.memory.detach(),
            head_log_probs=self.head_log_probs.detach(),
            decoder_memory=None if memory is None else (memory[0].detach(), memory[1]),
            upper=None if self.upper is None else self.upper.detach(),
        )
