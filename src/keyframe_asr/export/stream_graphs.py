"""The graphs of a network on streams: the next chunk of one stream, with its past as an input.

- `stream_encoder`: features to frames, inter-CTC log-probabilities, and what must be kept of them;
- `stream_keyframes`: frames around keyframes to the log-probabilities of the head, and what must be
  kept of encoder 2.

What is chosen between them, and what is kept, is `streams.steps`. All frames of a step lie in one
chunk, so they see each other, and the size of chunks is that of the input: one export serves all.
One stream at a time, because in 8 bits streams would share the scale of their activations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from keyframe_asr.export.tracing import Graph
from keyframe_asr.model.encoder_cache import LayerPast, Past
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.streaming import lower_step, upper_step
from keyframe_asr.streams.shapes import edge_shapes

FRAMES, KEYFRAMES, PAST = 3, 5, 7
"""Sizes of the examples that are traced; all at least 2, as torch.export takes 1 for constant."""

KEPT = ("new_keys", "new_values", "new_inputs")
"""Outputs that are kept for the next chunk: (L, H, N, D / H) twice, and (L, N, D)."""


class StreamEncoderGraph(nn.Module):
    """Features (T, F) to frames (N, D), log-probabilities (N, V), edges (S,), and what is kept."""

    def __init__(self, network: KeyframeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        features: Tensor,
        kept: Tensor,
        edges: Tensor,
        first: Tensor,
        keys: Tensor,
        values: Tensor,
        inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        """Run it.

        Args:
            features: (T, F) of one chunk and its look-ahead.
            kept: (1,) number of those of the chunk.
            edges: (S,) last inputs of the convolutions of the subsampling.
            first: (1,) number of frames before.
            keys: (L, H, M, D / H) of encoder 1.
            values: (L, H, M, D / H).
            inputs: (L, reach, D).
        """
        lengths = torch.full((1,), features.size(0), device=features.device)
        frames, log_probs, _, following, new = lower_step(
            self.network,
            features.unsqueeze(0),
            lengths,
            kept,
            edges.unsqueeze(0),
            first,
            _one(keys, values, inputs),
        )
        return frames[0], log_probs[0], following[0], *_kept(new)


class StreamKeyframesGraph(nn.Module):
    """Frames around keyframes (K, W, D) to log-probabilities (K, V), and what is kept."""

    def __init__(self, network: KeyframeNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        around: Tensor,
        inside: Tensor,
        positions: Tensor,
        keys: Tensor,
        values: Tensor,
        inputs: Tensor,
    ) -> tuple[Tensor, ...]:
        """Run it.

        Args:
            around: (K, W, D) frames around each keyframe.
            inside: (K, W) True for those that exist.
            positions: (K,) for encoder 2.
            keys: (L, H, M, D / H) of encoder 2.
            values: (L, H, M, D / H).
            inputs: (L, reach, D).
        """
        lengths = torch.full((1,), positions.size(0), device=positions.device)
        log_probs, new = upper_step(
            self.network,
            around.unsqueeze(0),
            inside.unsqueeze(0),
            positions.unsqueeze(0),
            lengths,
            _one(keys, values, inputs),
        )
        return log_probs[0], *_kept(new)


def stream_graphs(network: KeyframeNetwork) -> dict[str, Graph]:
    """The graphs of a network that can stream, in evaluation mode, by name."""
    generator = torch.Generator().manual_seed(1)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    config, bins = network.config, network.normalisation.mean.numel()
    encoder, reach = config.encoder, config.encoder.kernel // 2

    def past(layers: int) -> dict[str, Tensor]:
        keys = layers, encoder.heads, PAST, encoder.dim // encoder.heads
        return {
            "keys": some(*keys),
            "values": some(*keys),
            "inputs": some(layers, reach, encoder.dim),
        }

    shapes = edge_shapes(config.subsampling, bins)
    fixed = {"keys": (0, 1, 3), "values": (0, 1, 3), "inputs": (0, 1, 2)}
    offsets = network.fusion.offsets if network.fusion_enabled else (0,)
    return {
        "stream_encoder": Graph(
            StreamEncoderGraph(network),
            {
                "features": some(FRAMES * config.subsampling.factor, bins),
                "kept": torch.tensor([2 * config.subsampling.factor]),
                "edges": some(sum(channels * width for channels, width in shapes)),
                "first": torch.tensor([PAST]),
                **past(encoder.keyframe_layer),
            },
            {"features": (1,), "kept": (0,), "edges": (0,), "first": (0,), **fixed},
            ("frames", "log_probs", "next_edges", *KEPT),
        ),
        "stream_keyframes": Graph(
            StreamKeyframesGraph(network),
            {
                "around": some(KEYFRAMES, len(offsets), encoder.dim),
                "inside": torch.ones(KEYFRAMES, len(offsets)).bool(),
                "positions": PAST + torch.arange(KEYFRAMES),
                **past(encoder.layers - encoder.keyframe_layer),
            },
            {"around": (1, 2), "inside": (1,), **fixed},
            ("log_probs", *KEPT),
        ),
    }


def _one(keys: Tensor, values: Tensor, inputs: Tensor) -> Past:
    """The past of one stream as a batch; all of it is real."""
    known = torch.ones(1, keys.size(2), dtype=torch.bool, device=keys.device)
    return Past(known, keys.unsqueeze(1), values.unsqueeze(1), inputs.unsqueeze(1))


def _kept(new: LayerPast) -> tuple[Tensor, Tensor, Tensor]:
    keys, values, inputs = (one.squeeze(1) for one in new)
    return keys, values, inputs
