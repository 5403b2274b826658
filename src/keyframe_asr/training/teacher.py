"""A teacher on all frames, for a network whose upper layers run on keyframes (distillation).

The teacher is a model whose pretrained encoder runs on all frames. It tells the inter-CTC of the
other what a CTC above all layers hears in each frame, and the upper layers what they would give on
all frames, at the keyframes. Both need no transcripts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from keyframe_asr.errors import ModelError
from keyframe_asr.io.model_folder import load_model_folder
from keyframe_asr.io.model_location import find_model
from keyframe_asr.model.decoder_memory import DecoderMemory
from keyframe_asr.model.keyframe_layers import outputs_around, weighted_mean
from keyframe_asr.model.keyframes import Keyframes, gather_frames
from keyframe_asr.model.masks import length_mask
from keyframe_asr.model.network import Encoded, KeyframeNetwork
from keyframe_asr.model.pretrained import PretrainedEncoder
from keyframe_asr.text.tokenizer import Tokenizer

_NOTHING = 1e-8


class FullFrameTeacher(nn.Module):
    """A model that hears all frames; never trained.

    Args:
        network: its network, with a pretrained encoder.
        layer: the layer after which the pupil drops frames.
        window: number of outputs of which the pupil's keyframes are means.
    """

    def __init__(self, network: KeyframeNetwork, layer: int, window: int) -> None:
        super().__init__()
        assert network.pretrained is not None
        network.pretrained.divide_at(layer)
        self.network = network.requires_grad_(False).eval()
        self._window = window

    @torch.no_grad()
    def forward(
        self, features: Tensor, lengths: Tensor, keyframes: Keyframes, *, pre_encoded: bool
    ) -> tuple[Tensor, Tensor]:
        """Hear a batch.

        Args:
            features: (B, T, F) of the front end, or with `pre_encoded` outputs of the layer.
            lengths: (B,).
            keyframes: those of the pupil.
            pre_encoded: `features` are outputs of the layer after which the pupil drops frames.

        Returns:
            Log-probabilities (B, U, V) of the CTC, and vectors (B, K, W): the means of the last
            outputs around the keyframes.
        """
        encoder = self.network.pretrained
        assert encoder is not None
        if not pre_encoded:
            features, lengths = encoder(features, lengths)
        places = torch.arange(features.size(1), device=features.device).expand(len(features), -1)
        outputs = encoder.upper(features[..., -encoder.dim :], places, lengths)
        outside = ~length_mask(lengths, outputs.size(1)).unsqueeze(-1)
        outputs = outputs.masked_fill(outside, 0.0)
        _, _, log_probs = self.network.lower(outputs, lengths)
        return log_probs, self._vectors(outputs, lengths, keyframes)

    def hears_like(self, encoder: PretrainedEncoder) -> bool:
        """True if the layers on all frames are those of another encoder, to float16's precision."""
        assert self.network.pretrained is not None
        own, other = self.network.pretrained.lower_state(), encoder.lower_state()
        return own.keys() == other.keys() and all(
            own[name].shape == other[name].shape
            and torch.allclose(own[name].cpu(), other[name].cpu(), rtol=2e-3, atol=1e-4)
            for name in own
        )

    def train(self, mode: bool = True) -> FullFrameTeacher:
        """Stay in evaluation mode."""
        super().train(False)
        return self

    def _vectors(self, outputs: Tensor, lengths: Tensor, keyframes: Keyframes) -> Tensor:
        memory = self.network.decoder_memory
        if isinstance(memory, DecoderMemory) and memory.config.memory == "fused":
            return memory.fused(outputs, lengths, keyframes)  # the decoder knows these
        step = self.network.outputs_per_frame
        places, inside = outputs_around(keyframes, lengths, self._window, step)
        around = gather_frames(outputs, places, inside)
        return weighted_mean(around, around.new_zeros(inside.shape), inside)


def load_teacher(
    model: str, layer: int, window: int, pupil: KeyframeNetwork, tokenizer: Tokenizer
) -> FullFrameTeacher:
    """Load a teacher.

    Args:
        model: its folder or name.
        layer: as in `FullFrameTeacher`.
        window: as in `FullFrameTeacher`.
        pupil: the network that learns.
        tokenizer: the tokens of the pupil.

    Raises:
        ModelError: the model cannot be read, or cannot teach the pupil.
    """
    stored = load_model_folder(find_model(model))
    network, encoder, other = stored.network, stored.network.pretrained, pupil.pretrained
    same = [tokenizer.piece(one) for one in range(tokenizer.vocab_size)] == [
        stored.tokenizer.piece(one) for one in range(stored.tokenizer.vocab_size)
    ]
    why = ""
    if encoder is None or other is None or type(encoder) is not type(other):
        why = "has no pretrained encoder of the same family"
    elif encoder.keyframe_layer is not None or encoder.built != other.built:
        why = "does not run the same layers of its encoder on all frames"
    elif encoder.dim != other.dim or len(encoder.chosen) > 1:
        why = "has an encoder of another width, or uses several of its layers"
    elif network.subsampling.factor != pupil.subsampling.factor:
        why = "has another subsampling"
    elif not same:
        why = "has another tokenizer"
    if why:
        raise ModelError(f"teacher '{model}': {why}; name a model that the recipe's was made from")
    return FullFrameTeacher(network, layer, window)


def teacher_losses(
    encoded: Encoded, log_probs: Tensor, vectors: Tensor, token_lengths: Tensor
) -> dict[str, Tensor]:
    """Distances of a network to its teacher (arXiv 1503.02531).

    Args:
        encoded: of the network that learns; `upper` must not be None.
        log_probs: (B, U, V) of the teacher's CTC.
        vectors: (B, K, W) of the teacher.
        token_lengths: (B,) tokens of the texts.

    Returns:
        `teacher_ctc`: the mean over the batch of the Kullback-Leibler divergence of the frames of
        an utterance, per token of its text. `teacher_vectors`: the mean over the keyframes of the
        squared distance, relative to the squared length of the teacher's vector.
    """
    assert encoded.upper is not None
    inside = length_mask(encoded.frame_lengths, log_probs.size(1))
    divergence = (log_probs.exp() * (log_probs - encoded.inter_log_probs)).sum(dim=-1)
    summed = divergence.masked_fill(~inside, 0.0).sum(dim=1)
    real = encoded.keyframes.mask
    wrong = (encoded.upper - vectors).float().square().sum(dim=-1)
    relative = wrong / vectors.float().square().sum(dim=-1).clamp(min=_NOTHING)
    return {
        "teacher_ctc": (summed / token_lengths.clamp(min=1)).mean(),
        "teacher_vectors": relative.masked_fill(~real, 0.0).sum() / real.sum().clamp(min=1),
    }
