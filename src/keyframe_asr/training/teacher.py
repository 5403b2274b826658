"""A teacher on all frames, for a network whose upper layers run on keyframes (distillation).

The teacher is a model whose pretrained encoder runs on all frames. It tells the inter-CTC of the
other what a CTC above all layers hears in each frame, and the upper layers what they would give on
all frames, at the keyframes. Both need no transcripts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.config.recipe import Recipe
from keyframe_asr.errors import ModelError
from keyframe_asr.io.model_folder import load_model_folder
from keyframe_asr.io.model_location import CONFIG_FILE, find_model
from keyframe_asr.model.encoded import Encoded
from keyframe_asr.model.keyframe_layers import outputs_around, weighted_mean
from keyframe_asr.model.keyframes import Keyframes, gather_frames
from keyframe_asr.model.masks import length_mask
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.model.pretrained import PretrainedEncoder
from keyframe_asr.text.tokenizer import Tokenizer

_NOTHING = 1e-8


class FullFrameTeacher(nn.Module):
    """A model that hears all frames; never trained.

    It shares stored outputs of the lower layers with the student, and their masks. Where the
    student's encoder runs in training, it hears the utterance itself, without masks.

    Args:
        network: its network, with a pretrained encoder.
        layer: the layer after which the student drops frames.
        window: number of outputs of which the student's keyframes are means.
    """

    def __init__(self, network: KeyframeNetwork, layer: int, window: int) -> None:
        super().__init__()
        assert network.pretrained is not None
        network.pretrained.divide_at(layer)
        self.network = network.requires_grad_(False).eval()
        self._window = window
        self._own_lower: dict[str, Tensor] = {}

    @torch.no_grad()
    def forward(
        self, features: Tensor, lengths: Tensor, keyframes: Keyframes, *, pre_encoded: bool
    ) -> tuple[Tensor, Tensor]:
        """Hear a batch.

        Args:
            features: (B, T, F) of the front end, or with `pre_encoded` outputs of the layer.
            lengths: (B,).
            keyframes: those of the student.
            pre_encoded: `features` are outputs of the layer after which the student drops frames.

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
        """True if the layers on all frames are an encoder's, but for rounding to float16.

        Those of a quantised copy are not.
        """
        assert self.network.pretrained is not None
        own, other = self.network.pretrained.lower_state(), encoder.lower_state()
        return own.keys() == other.keys() and all(
            own[name].shape == other[name].shape
            and torch.allclose(own[name].cpu(), other[name].cpu(), rtol=2e-3, atol=1e-4)
            for name in own
        )

    def share_lower_layers(self, encoder: PretrainedEncoder) -> None:
        """Hear with the layers on all frames of an encoder that is not trained.

        The own layers wait on the CPU, so that the device does not hold them twice.
        """
        assert self.network.pretrained is not None
        if self._own_lower:
            return
        names = self.network.pretrained.lower_state()
        self._own_lower = {name: weight.detach().cpu() for name, weight in names.items()}
        state = encoder.state_dict(keep_vars=True)
        self._replace_lower({name: state[name] for name in names})

    def take_lower_layers_back(self) -> None:
        """Hear with the own layers again, because those of the encoder will be trained."""
        device = self.network.normalisation.mean.device
        self._replace_lower({name: one.to(device) for name, one in self._own_lower.items()})
        self._own_lower = {}

    def _replace_lower(self, weights: Mapping[str, Tensor]) -> None:
        assert self.network.pretrained is not None
        for name, weight in weights.items():
            place, _, part = name.rpartition(".")
            module = self.network.pretrained.get_submodule(place)
            if part not in module._parameters:
                module._buffers[part] = weight
            elif isinstance(weight, nn.Parameter):
                module._parameters[part] = weight
            else:
                module._parameters[part] = nn.Parameter(weight, requires_grad=False)

    def train(self, mode: bool = True) -> FullFrameTeacher:
        """Stay in evaluation mode."""
        super().train(False)
        return self

    def _vectors(self, outputs: Tensor, lengths: Tensor, keyframes: Keyframes) -> Tensor:
        memory = self.network.decoder_memory
        if memory is not None and memory.config.memory == "fused":
            return memory.fused(outputs, lengths, keyframes)  # the decoder knows these
        step = self.network.outputs_per_frame
        places, inside = outputs_around(keyframes, lengths, self._window, step)
        around = gather_frames(outputs, places, inside)
        return weighted_mean(around, around.new_zeros(inside.shape), inside)


def check_teacher(recipe: Recipe) -> None:
    """Refuse a teacher that cannot teach the network of a recipe, before anything is computed.

    Raises:
        ModelError: there is no such model, or it hears something else than the network.
        RecipeError: its `config.yaml` is invalid.
    """
    if not has_teacher(recipe):
        return
    assert recipe.teacher is not None and recipe.model.pretrained is not None
    config = load_model_folder_config(find_model(recipe.teacher) / CONFIG_FILE)
    own, other = recipe.model.pretrained, config.model.pretrained
    why = ""
    if other is None or other.family != own.family or other.size != own.size:
        why = "does not have the same pretrained encoder"
    elif other.keyframe_layer is not None or other.layers not in ([], [own.size[0]]):
        why = "does not use the last layer of its encoder on all frames"
    elif config.model.subsampling.factor != recipe.model.subsampling.factor:
        why = "has another model.subsampling.factor"
    elif config.features.level != recipe.features.level:
        why = f"hears recordings at features.level {config.features.level}"
    if why:
        raise ModelError(f"teacher '{recipe.teacher}': {why}; name another, or leave it out")


def has_teacher(recipe: Recipe) -> bool:
    """True if a stage learns from the teacher."""
    return any(stage.losses.teacher > 0 for stage in recipe.stages)


def load_teacher(recipe: Recipe, tokenizer: Tokenizer) -> FullFrameTeacher:
    """Load the teacher of a recipe that has one.

    Raises:
        ModelError: the model cannot be read, or has other tokens than the tokenizer.
    """
    pretrained = recipe.model.pretrained
    assert recipe.teacher is not None and pretrained is not None
    assert pretrained.keyframe_layer is not None, "the recipe requires it"
    stored = load_model_folder(find_model(recipe.teacher))
    if _pieces(stored.tokenizer) != _pieces(tokenizer):
        raise ModelError(
            f"teacher '{recipe.teacher}': has another tokenizer; set tokenizer.of_model: "
            f"{recipe.teacher}, or name another teacher"
        )
    return FullFrameTeacher(stored.network, pretrained.keyframe_layer, pretrained.keyframe_window)


def _pieces(tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.piece(token) for token in range(tokenizer.vocab_size)]


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
