"""Multi-head attention with rotary positions (arXiv 2104.09864).

Positions are an input, because encoder 2 uses the original frame times of the keyframes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

ROTARY_BASE = 10_000.0


def rotary_angles(positions: Tensor, head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine, each (B, 1, N, head_dim / 2), of positions (B, N) in frames."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device) / head_dim
    angles = positions[:, None, :, None].float() * ROTARY_BASE**-exponents
    return angles.cos(), angles.sin()


def rotate(heads: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate heads (B, H, N, head_dim) by their angles; same shape and dtype."""
    cosine, sine = angles
    first, second = heads.float().chunk(2, dim=-1)
    rotated = torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)
    return rotated.to(heads.dtype)


def split_heads(frames: Tensor, heads: int) -> Tensor:
    """(B, N, D) to (B, H, N, D / H)."""
    split: Tensor = frames.unflatten(-1, (heads, -1))
    return split.transpose(1, 2)


def merge_heads(heads: Tensor) -> Tensor:
    """(B, H, N, D / H) to (B, N, D)."""
    return heads.transpose(1, 2).flatten(2)


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, causal: bool = False
) -> Tensor:
    """Scaled dot-product attention of heads (B, H, N, D / H).

    Args:
        query: (B, H, N, D / H).
        key: (B, H, M, D / H).
        value: (B, H, M, D / H).
        mask: of what each query attends to, broadcast to (B, H, N, M); None: everything.
        causal: each attends to itself and what is before it; then without a mask, and N = M.
    """
    if query.device.type != "cpu":
        return scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
    # On the CPU the backward pass is several times faster in float32 than in bfloat16.
    with torch.autocast("cpu", enabled=False):
        return scaled_dot_product_attention(
            query.float(), key.float(), value.float(), attn_mask=mask, is_causal=causal
        )


def attend_shared(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Attention in which S rows of queries in a row share keys, values and mask.

    Args:
        query: (B · S, H, N, D / H), such as several hypotheses of each of B utterances.
        key: (B, H, M, D / H).
        value: (B, H, M, D / H).
        mask: (B, 1, 1, M).
    """
    batch = key.size(0)
    if batch == 0:
        return attend(query, key, value, mask)
    rows = query.unflatten(0, (batch, -1))
    together = rows.transpose(1, 2).flatten(2, 3)
    attended: Tensor = attend(together, key, value, mask).unflatten(2, (rows.size(1), -1))
    return attended.transpose(1, 2).flatten(0, 1)


class SelfAttention(nn.Module):
    """Rotary multi-head self-attention over a padded batch."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, frames: Tensor, mask: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Apply to frames (B, N, D) with key mask (B, 1, 1 or N, N); returns (B, N, D)."""
        return self.combine(*self.project(frames, angles), mask)

    def project(
        self, frames: Tensor, angles: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of frames (B, N, D), each (B, H, N, D / H), rotated."""
        query, key, value = (
            split_heads(part, self.heads) for part in self.query_key_value(frames).chunk(3, dim=-1)
        )
        return rotate(query, angles), rotate(key, angles), value

    def combine(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        """What N queries find among M keys, with mask (B, 1, 1 or N, M): (B, N, D)."""
        attended: Tensor = self.output(merge_heads(attend(query, key, value, mask)))
        return attended
