"""Multiply-adds of the encoders, from the configuration alone.

Counted are the matrix products and convolutions of one utterance in recognition, as they are
computed: attention over a window multiplies all pairs of frames and masks most of them. Element by
element operations, a percent or less, are left out, and so is a pretrained encoder below.
"""

from __future__ import annotations

from dataclasses import dataclass

from keyframe_asr.config.model import EncoderConfig, FusionConfig, ModelConfig, SubsamplingConfig
from keyframe_asr.model.fusion import ATTENTION_SHARE


@dataclass(frozen=True)
class MultiplyAdds:
    """Of the parts of a network on one utterance."""

    subsampling: int
    encoder1: int
    inter_ctc: int
    fusion: int
    encoder2: int
    head: int

    @property
    def total(self) -> int:
        """All parts together."""
        return (
            self.subsampling
            + self.encoder1
            + self.inter_ctc
            + self.fusion
            + self.encoder2
            + self.head
        )


def encoder_multiply_adds(
    model: ModelConfig, width: int, vocab_size: int, frames: int, kept: int, fusion: bool
) -> MultiplyAdds:
    """Multiply-adds of everything but the attention decoder.

    Args:
        model: the network.
        width: F of what enters the subsampling: mel bins, or a pretrained encoder's width.
        vocab_size: labels of both heads.
        frames: of what enters the subsampling, 100 a second, 50 of a pretrained encoder.
        kept: frames that encoder 2 sees; all encoder frames if none are dropped.
        fusion: whether frames are fused.
    """
    encoder = model.encoder
    if model.pretrained is None:
        encoded, subsampling = _fbank_subsampling(frames, width, encoder.dim, model.subsampling)
    else:
        encoded, subsampling = _encoding_subsampling(frames, width, encoder.dim, model.subsampling)
    layers2 = encoder.layers - encoder.keyframe_layer
    inter_ctc = encoded * encoder.dim * vocab_size
    return MultiplyAdds(
        subsampling=subsampling,
        encoder1=encoder.keyframe_layer * conformer_layer(encoded, encoder),
        inter_ctc=inter_ctc * (2 if encoder.self_conditioning else 1),
        fusion=_fusion(kept, encoder.dim, model.fusion) if fusion else 0,
        encoder2=layers2 * conformer_layer(kept, encoder),
        head=kept * encoder.dim * vocab_size,
    )


def encoder_frames(model: ModelConfig, frames: int) -> int:
    """Frames after the subsampling, of so many before it."""
    halvings = model.subsampling.factor.bit_length() - (1 if model.pretrained is None else 2)
    return -(-frames >> halvings)


def conformer_layer(frames: int, config: EncoderConfig) -> int:
    """Of one Conformer layer on so many frames; the last term grows with their square."""
    dim = config.dim
    feed_forward = 2 * 2 * dim * config.feed_forward
    projections = 4 * dim * dim
    convolution = 3 * dim * dim + config.kernel * dim
    return frames * (feed_forward + projections + convolution) + 2 * frames * frames * dim


def _fbank_subsampling(
    frames: int, width: int, dim: int, config: SubsamplingConfig
) -> tuple[int, int]:
    """Frames after it, and multiply-adds."""
    total, channels = 0, 1
    for _ in range(config.factor.bit_length() - 1):
        frames, width = (frames + 1) // 2, (width + 1) // 2
        taps = channels * 9
        if config.separable and channels > 1:
            total += frames * width * (taps + channels * config.channels)
        else:
            total += frames * width * taps * config.channels
        channels = config.channels
    return frames, total + frames * channels * width * dim


def _encoding_subsampling(
    frames: int, width: int, dim: int, config: SubsamplingConfig
) -> tuple[int, int]:
    total = 0
    for _ in range(config.factor.bit_length() - 2):
        frames = (frames + 1) // 2
        total += frames * width * 3 * config.channels
        width = config.channels
    return frames, total + frames * width * dim


def _fusion(kept: int, dim: int, config: FusionConfig) -> int:
    if config.kind == "concat":
        return kept * config.window * dim * dim
    if config.kind == "attention":
        narrow = max(dim // ATTENTION_SHARE, 1)
        return kept * (1 + config.window) * dim * narrow
    return 0
