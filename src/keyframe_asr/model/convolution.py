"""The convolution module of the Conformer (arXiv 2005.08100).

Deviation: layer norm instead of batch norm, so that no utterance depends on its batch, including
in training.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import glu, silu


class ConvolutionModule(nn.Module):
    """Pointwise, gate, depthwise over time, norm, swish, pointwise."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, frames: Tensor, inside: Tensor) -> Tensor:
        """Apply to frames (B, N, D), with `inside` (B, N, 1) True within each sequence."""
        gated = glu(self.expand(frames), dim=-1).masked_fill(~inside, 0.0)
        mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        projected: Tensor = self.output(silu(self.norm(mixed)))
        return projected
