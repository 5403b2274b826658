"""Conformer layers (arXiv 2005.08100), pre-norm, with macaron feed-forward and rotary positions.

Deviations from the paper: rotary instead of relative positions (model/attention.py); layer norm
instead of batch norm in the convolution module (model/convolution.py); dropout only on the output
of each module, not also inside the feed-forward module, after its swish, as the paper has it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import silu

from keyframe_asr.config.model import EncoderConfig
from keyframe_asr.model.attention import SelfAttention, rotary_angles
from keyframe_asr.model.convolution import ConvolutionModule
from keyframe_asr.model.masks import attention_mask, length_mask


class FeedForward(nn.Module):
    """Layer norm, expansion, swish, projection."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden)
        self.output = nn.Linear(hidden, dim)

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames (B, N, D) to (B, N, D)."""
        projected: Tensor = self.output(silu(self.expand(self.norm(frames))))
        return projected


class ConformerLayer(nn.Module):
    """Half feed-forward, self-attention, convolution, half feed-forward, layer norm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim = config.dim
        self.feed_forward_in = FeedForward(dim, config.feed_forward)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, config.heads)
        self.convolution_norm = nn.LayerNorm(dim)
        self.convolution = ConvolutionModule(dim, config.kernel)
        self.feed_forward_out = FeedForward(dim, config.feed_forward)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, frames: Tensor, inside: Tensor, mask: Tensor, angles: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Apply to frames (B, N, D), with `inside` (B, N, 1) and `mask` (B, 1, 1 or N, N)."""
        frames = frames + 0.5 * self.dropout(self.feed_forward_in(frames))
        attended = self.attention(self.attention_norm(frames), mask, angles)
        frames = frames + self.dropout(attended)
        mixed = self.convolution(self.convolution_norm(frames), inside)
        frames = frames + self.dropout(mixed)
        frames = frames + 0.5 * self.dropout(self.feed_forward_out(frames))
        normalised: Tensor = self.norm(frames)
        return normalised


class ConformerEncoder(nn.Module):
    """A stack of Conformer layers over padded sequences.

    With a `window`, each frame attends only to this many frames on each side.
    """

    def __init__(self, layers: int, config: EncoderConfig, window: int | None = None) -> None:
        super().__init__()
        self.window = window
        self.head_dim = config.dim // config.heads
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(layers))

    def forward(self, frames: Tensor, lengths: Tensor, positions: Tensor) -> Tensor:
        """Encode frames (B, N, D) of lengths (B,) at positions (B, N) in frames.

        Returns:
            (B, N, D), zeros in the padding.
        """
        inside = length_mask(lengths, frames.size(1)).unsqueeze(-1)
        mask = attention_mask(lengths, frames.size(1), self.window)
        angles = rotary_angles(positions, self.head_dim)
        for layer in self.layers:
            frames = layer(frames, inside, mask, angles)
        return frames.masked_fill(~inside, 0.0)
