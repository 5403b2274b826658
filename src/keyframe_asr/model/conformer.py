"""Conformer layers (arXiv 2005.08100), pre-norm, with macaron feed-forward and rotary positions.

Deviations from the paper: rotary instead of relative positions (model/attention.py); layer norm
instead of batch norm in the convolution module (model/convolution.py); dropout only on the output
of each module, not also inside the feed-forward module, after its swish, as the paper has it.

With chunks (model/chunks.py), `step` encodes the next chunk of streams, with cached keys, values
and inputs of the convolutions, and finds what `forward` finds in the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from keyframe_asr.config.model import EncoderConfig
from keyframe_asr.model.attention import SelfAttention, rotary_angles
from keyframe_asr.model.chunks import Chunks, KeyframeChunks
from keyframe_asr.model.convolution import ConvolutionModule
from keyframe_asr.model.encoder_cache import LayerPast, Past
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


@dataclass(frozen=True)
class Seen:
    """What the frames (B, N, D) of a batch may see.

    Attributes:
        inside: (B, N, 1) True within each sequence.
        mask: (B, 1, 1 or N, M) of the M keys, N frames and those before them.
        angles: rotary angles of the N frames.
        chunk: (B, N) index of the chunk of each frame; None without chunks.
    """

    inside: Tensor
    mask: Tensor
    angles: tuple[Tensor, Tensor]
    chunk: Tensor | None = None


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
        self, frames: Tensor, seen: Seen, past: LayerPast | None = None
    ) -> tuple[Tensor, LayerPast]:
        """Apply to frames (B, N, D), which may follow others.

        Returns:
            (B, N, D), and keys, values and inputs of the convolution of these frames.
        """
        frames = frames + 0.5 * self.dropout(self.feed_forward_in(frames))
        query, *now = self.attention.project(self.attention_norm(frames), seen.angles)
        key, value = now
        if past is not None:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        frames = frames + self.dropout(self.attention.combine(query, key, value, seen.mask))
        gated = self.convolution.gate(self.convolution_norm(frames), seen.inside)
        if past is None:
            mixed = self.convolution.mix(gated, seen.chunk)
        else:
            mixed = self.convolution.mix_next(gated, past[2])
        frames = frames + self.dropout(mixed)
        frames = frames + 0.5 * self.dropout(self.feed_forward_out(frames))
        return self.norm(frames), (now[0], now[1], gated)


class ConformerEncoder(nn.Module):
    """A stack of Conformer layers over padded sequences.

    With a `window`, each frame attends only to this many frames on each side.
    """

    def __init__(self, layers: int, config: EncoderConfig, window: int | None = None) -> None:
        super().__init__()
        self.window = window
        self.heads = config.heads
        self.head_dim = config.dim // config.heads
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(layers))

    def forward(
        self,
        frames: Tensor,
        lengths: Tensor,
        positions: Tensor,
        chunks: Chunks | KeyframeChunks | None = None,
    ) -> Tensor:
        """Encode frames (B, N, D) of lengths (B,) at positions (B, N) in frames.

        Returns:
            (B, N, D), zeros in the padding.
        """
        size = frames.size(1)
        inside = length_mask(lengths, size).unsqueeze(-1)
        places = torch.arange(size, device=frames.device).unsqueeze(0)
        seen = Seen(
            inside,
            attention_mask(lengths, size, self.window, chunks),
            rotary_angles(positions, self.head_dim),
            None if chunks is None else chunks.index(places),
        )
        for layer in self.layers:
            frames, _ = layer(frames, seen)
        return frames.masked_fill(~inside, 0.0)

    def step(
        self,
        frames: Tensor,
        lengths: Tensor,
        positions: Tensor,
        past: Past,
    ) -> tuple[Tensor, LayerPast]:
        """Encode the next frames of streams, like `forward` with all of their frames.

        Args:
            frames: (B, N, D) of one chunk of each stream, N > 0.
            lengths: (B,) of them.
            positions: (B, N) in frames.
            past: what the frames may see of those before.

        Returns:
            (B, N, D), zeros in the padding, and their keys and values (L, B, H, N, D / H) and
            inputs of the convolutions (L, B, N, D).
        """
        size, before = frames.size(1), past.keys.size(3)
        inside = length_mask(lengths, size)
        place = torch.arange(before + size, device=frames.device)
        distance = place[before:].unsqueeze(1) - place  # from a frame back to a key
        mask = torch.cat((past.known, inside), dim=1)[:, None, None, :]
        if self.window is not None:
            mask = mask & (distance.abs() <= self.window)
        angles = rotary_angles(positions, self.head_dim)
        inside = inside.unsqueeze(-1)
        seen = Seen(inside, mask | (distance == 0), angles)
        new: list[LayerPast] = []
        for number, layer in enumerate(self.layers):
            one = past.keys[number], past.values[number], past.inputs[number]
            frames, now = layer(frames, seen, one)
            new.append(now)
        frames = frames.masked_fill(~inside, 0.0)
        if not new:
            keys = frames.new_zeros(0, len(frames), self.heads, size, self.head_dim)
            return frames, (keys, keys, frames.new_zeros(0, *frames.shape))
        keys, values, inputs = (torch.stack(part) for part in zip(*new, strict=True))
        return frames, (keys, values, inputs)
