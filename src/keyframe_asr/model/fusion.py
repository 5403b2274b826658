"""Frame fusion: each keyframe becomes a weighted sum of the frames around it.

Source: "End-to-end Speech Recognition with similar length speech and text" (arXiv 2510.10453),
which fuses frames t-1, t, t+1 and finds five frames worse than three. Keyframe t becomes
Σ_d w_d · x_{t+d} over the offsets d of the window. The paper does not define the weights; here they
are content-dependent (`attention`), learned (`static`), equal (`mean`), or a full projection of the
window (`concat`). Derivation: docs/math/keyframes.md.

All learned kinds are initialised close to the keyframe itself, so that fusion can be switched on in
trained weights. `attention` and `static` assign two thirds of the weight to the keyframe and
distribute the rest equally (far from saturation, so every weight has a gradient); `concat` starts
as the identity.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from keyframe_asr.config.model import FusionConfig
from keyframe_asr.model.keyframes import Keyframes, gather_frames
from keyframe_asr.streams.shapes import fusion_offsets

ATTENTION_REDUCTION = 4
"""Queries and keys of `attention` are this many times narrower than the frames."""


class FrameFusion(nn.Module):
    """Fuse each keyframe with its neighbours; frames outside the utterance have weight 0.

    Args:
        dim: width D of the frames.
        config: kind of weights and window.
    """

    def __init__(self, dim: int, config: FusionConfig) -> None:
        super().__init__()
        self.dim = dim
        self.config = config
        window = len(self.offsets)
        if config.kind == "attention":
            narrow = max(dim // ATTENTION_REDUCTION, 1)
            self.query = nn.Linear(dim, narrow)
            # A key bias would add the same constant to every score of a window.
            self.key = nn.Linear(dim, narrow, bias=False)
        if config.kind in ("attention", "static"):
            self.offset_bias = nn.Parameter(torch.zeros(window))
        if config.kind == "concat":
            self.projection = nn.Linear(window * dim, dim)
        self.reset_parameters()

    @property
    def offsets(self) -> tuple[int, ...]:
        """Offsets d of the window in frames, ascending; 0 is the keyframe itself."""
        return fusion_offsets(self.config)

    def reset_parameters(self) -> None:
        """Initialise close to the keyframe itself, see the module docstring."""
        centre, window = self.offsets.index(0), len(self.offsets)
        with torch.no_grad():
            if self.config.kind in ("attention", "static"):
                self.offset_bias.zero_()
                # softmax gives the keyframe 2 (w-1) / (2 (w-1) + (w-1)) = 2/3.
                self.offset_bias[centre] = math.log(2 * (window - 1)) if window > 1 else 0.0
            if self.config.kind == "attention":
                self.query.reset_parameters()
                self.key.reset_parameters()
            if self.config.kind == "concat":
                self.projection.weight.zero_()
                self.projection.bias.zero_()
                block = slice(centre * self.dim, (centre + 1) * self.dim)
                self.projection.weight[:, block].fill_diagonal_(1.0)

    def forward(self, frames: Tensor, frame_lengths: Tensor, keyframes: Keyframes) -> Tensor:
        """Fuse the keyframes of `frames`.

        Args:
            frames: (B, U, D); anything past an utterance's length is ignored.
            frame_lengths: (B,) frames of each utterance.
            keyframes: index (B, K), within the lengths.

        Returns:
            (B, K, D), zeros past the number of keyframes.
        """
        if self.config.kind == "none":
            return keyframes.gather(frames)
        first, last = self.offsets[0], self.offsets[-1]
        offsets = torch.arange(first, last + 1, device=keyframes.index.device)
        position = keyframes.index.unsqueeze(-1) + offsets
        real = keyframes.mask
        inside = (position >= 0) & (position < frame_lengths.view(-1, 1, 1)) & real.unsqueeze(-1)
        neighbours = gather_frames(frames, position, inside)
        return self.fuse(neighbours, inside).masked_fill(~real.unsqueeze(-1), 0.0)

    def fuse(self, neighbours: Tensor, inside: Tensor) -> Tensor:
        """Fuse each window.

        Args:
            neighbours: (B, K, W, D) frames at the offsets around each keyframe, zeros where there
                is none.
            inside: (B, K, W) mask of the frames that exist.

        Returns:
            (B, K, D); anything for a window without frames.
        """
        if self.config.kind == "none":
            return neighbours[:, :, 0]
        if self.config.kind == "concat":
            projected: Tensor = self.projection(neighbours.flatten(2))
            return projected
        weights = self._weights(neighbours, inside)
        return (weights.unsqueeze(-1) * neighbours).sum(dim=2)

    def _weights(self, neighbours: Tensor, inside: Tensor) -> Tensor:
        """Weights (B, K, W) of the neighbours (B, K, W, D); they sum to 1 over those inside."""
        if self.config.kind == "mean":
            scores = neighbours.new_zeros(inside.shape)
        elif self.config.kind == "static":
            scores = self.offset_bias.expand(inside.shape)
        else:
            query = self.query(neighbours[:, :, self.offsets.index(0)])
            key = self.key(neighbours)
            scores = (query.unsqueeze(2) * key).sum(-1) / math.sqrt(key.shape[-1])
            scores = scores + self.offset_bias
        # The lowest finite number instead of -inf: a padded keyframe has no frame inside, and a
        # softmax over only -inf is NaN. Next to any real score its weight is still exactly 0.
        scores = scores.masked_fill(~inside, torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1)
