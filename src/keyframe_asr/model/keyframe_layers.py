"""Upper layers of a pretrained encoder on keyframes only.

Each keyframe is a learned mean of the outputs around it of the layer below, 50 per second. It keeps
its position, which Whisper adds to its input. The frames that are dropped cost nothing in the
layers above (arXiv 2506.15912 drops frames of Whisper's encoder by their attention instead).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from keyframe_asr.model.keyframes import Keyframes, gather_frames
from keyframe_asr.model.pretrained import PretrainedEncoder


def outputs_around(
    keyframes: Keyframes, output_lengths: Tensor, size: int, step: int
) -> tuple[Tensor, Tensor]:
    """Places (B, K, size) of the outputs around each keyframe, and which of them exist.

    Args:
        keyframes: index (B, K) in encoder frames.
        output_lengths: (B,) outputs of each utterance.
        size: number of outputs around a keyframe.
        step: outputs per encoder frame.
    """
    offsets = torch.arange(size, device=keyframes.index.device) + (step - size) // 2
    places = keyframes.index.unsqueeze(-1) * step + offsets
    inside = (places >= 0) & (places < output_lengths.view(-1, 1, 1))
    return places, inside & keyframes.mask.unsqueeze(-1)


def weighted_mean(around: Tensor, scores: Tensor, inside: Tensor) -> Tensor:
    """The mean (B, K, D) of vectors (B, K, W, D), weighted by the softmax of scores (B, K, W)."""
    # not -inf: a padded keyframe has no output inside, and a softmax over only -inf is NaN
    scores = scores.masked_fill(~inside, torch.finfo(scores.dtype).min)
    return (scores.softmax(dim=-1).unsqueeze(-1) * around).sum(dim=2)


def mean_around(
    outputs: Tensor,
    output_lengths: Tensor,
    keyframes: Keyframes,
    step: int,
    score: nn.Linear,
    offset_bias: Tensor,
) -> Tensor:
    """The learned mean (B, K, D) of the outputs around each keyframe.

    Args:
        outputs: (B, T, D).
        output_lengths: (B,).
        keyframes: index (B, K) in encoder frames.
        step: outputs per encoder frame.
        score: maps an output to its score.
        offset_bias: (W,) added to the scores of the W outputs around a keyframe.
    """
    places, inside = outputs_around(keyframes, output_lengths, len(offset_bias), step)
    around = gather_frames(outputs, places, inside)
    return weighted_mean(around, score(around).squeeze(-1) + offset_bias, inside)


class KeyframeLayers(nn.Module):
    """Runs the upper layers of a pretrained encoder on keyframes, for the layers that follow.

    The projection starts at zero, so that a model trained without it starts with the same output.

    Args:
        width: width of the pretrained encoder.
        dim: width of encoder 2.
        size: number of outputs of which each keyframe is a mean.
        outputs_per_frame: outputs of the pretrained encoder per encoder frame.
    """

    def __init__(self, width: int, dim: int, size: int, outputs_per_frame: int) -> None:
        super().__init__()
        self.outputs_per_frame = outputs_per_frame
        self.score = nn.Linear(width, 1, bias=False)
        self.offset_bias = nn.Parameter(torch.zeros(size))
        self.projection = nn.Linear(width, dim)
        for weight in (self.score.weight, self.projection.weight, self.projection.bias):
            nn.init.zeros_(weight)

    def forward(
        self,
        encoder: PretrainedEncoder,
        outputs: Tensor,
        output_lengths: Tensor,
        keyframes: Keyframes,
    ) -> Tensor:
        """Run the upper layers.

        Args:
            encoder: the pretrained encoder.
            outputs: (B, T, width) of its `keyframe_layer`.
            output_lengths: (B,).
            keyframes: index (B, K) in encoder frames.

        Returns:
            (B, K, width); anything past the number of keyframes.
        """
        step = self.outputs_per_frame
        vectors = mean_around(
            outputs, output_lengths, keyframes, step, self.score, self.offset_bias
        )
        return encoder.upper(vectors, keyframes.index * step, keyframes.lengths)
