"""The convolution module of the Conformer (arXiv 2005.08100).

Deviation: layer norm instead of batch norm, so that no utterance depends on its batch, including
in training. With chunks, the convolution stays centred, but what lies after the chunk of a frame
counts as zero (dynamic chunk convolution, arXiv 2304.09325).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, glu, pad, silu


class ConvolutionModule(nn.Module):
    """Pointwise, gate, depthwise over time, norm, swish, pointwise."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.reach = kernel // 2
        self.expand = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=self.reach, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, frames: Tensor, inside: Tensor, chunk: Tensor | None = None) -> Tensor:
        """Apply to frames (B, N, D), with `inside` (B, N, 1) True within each sequence."""
        return self.mix(self.gate(frames, inside), chunk)

    def gate(self, frames: Tensor, inside: Tensor) -> Tensor:
        """The input (B, N, D) of the depthwise convolution, zeros outside the sequences."""
        return glu(self.expand(frames), dim=-1).masked_fill(~inside, 0.0)

    def mix(self, gated: Tensor, chunk: Tensor | None = None) -> Tensor:
        """Convolve over time and project.

        Args:
            gated: (B, N, D) of `gate`.
            chunk: (B, N) index of the chunk of each frame; None: frames see `reach` frames on both
                sides.
        """
        if chunk is None and _is_compiled():
            around = pad(gated, (0, 0, self.reach, self.reach))
            mixed = _convolved(around, self.depthwise.weight, self.depthwise.bias)
        elif chunk is None:
            mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        else:
            mixed = self._within_chunks(gated, chunk)
        return self._project(mixed)

    def mix_next(self, gated: Tensor, before: Tensor) -> Tensor:
        """Convolve the next chunk of streams over time and project, like `mix` with all frames.

        Args:
            gated: (B, N, D) of `gate`.
            before: (B, reach, D) last inputs before these.
        """
        past = pad(torch.cat((before, gated), dim=1), (0, 0, 0, self.reach)).transpose(1, 2)
        depthwise = self.depthwise
        mixed = conv1d(past, depthwise.weight, depthwise.bias, groups=depthwise.groups)
        return self._project(mixed.transpose(1, 2))

    def _project(self, mixed: Tensor) -> Tensor:
        projected: Tensor = self.output(silu(self.norm(mixed)))
        return projected

    def _within_chunks(self, gated: Tensor, chunk: Tensor) -> Tensor:
        kernel = self.depthwise.weight
        past = pad(gated, (0, 0, self.reach, 0))
        mixed = _convolved(past, kernel[..., : self.reach + 1], self.depthwise.bias)
        for ahead in range(1, min(self.reach + 1, gated.size(1))):
            same = (chunk[:, ahead:] == chunk[:, :-ahead]).unsqueeze(-1)
            coming = gated[:, ahead:].masked_fill(~same, 0.0)
            taps = kernel[:, 0, self.reach + ahead].to(coming.dtype)
            mixed = mixed + pad(coming * taps, (0, 0, 0, ahead))
        return mixed


def _convolved(frames: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """Depthwise convolution of frames (B, N + K - 1, D) with a kernel (D, 1, K): (B, N, D)."""
    if not _is_compiled():
        mixed = conv1d(frames.transpose(1, 2), kernel, bias, groups=kernel.size(0))
        return mixed.transpose(1, 2)
    # torch.compile would compile the gradient of a convolution anew for every N
    size = frames.size(1) - kernel.size(2) + 1
    taps = kernel[:, 0].to(frames.dtype)
    mixed = frames[:, :size] * taps[:, 0]
    for tap in range(1, kernel.size(2)):
        mixed = mixed + frames[:, tap : tap + size] * taps[:, tap]
    return mixed if bias is None else mixed + bias.to(frames.dtype)


def _is_compiled() -> bool:
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()
