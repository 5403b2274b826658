"""Interface of pretrained speech encoders below the network's own layers.

A `PretrainedEncoder` maps features of its own front end to outputs of its layers at 50 Hz. Its
upper layers may run later, on keyframes only. Each family is one file. All of them are independent
of padding, never use dropout (frozen outputs are computed once and stored), and can be frozen by
layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from keyframe_asr.config.model import PretrainedConfig
from keyframe_asr.errors import ModelError

OUTPUTS_PER_SECOND = 50
"""The same for all families: their first convolutions have a step of 20 ms."""


class PretrainedEncoder(nn.Module, ABC):
    """Returns the outputs of chosen layers of a pretrained encoder.

    Attributes:
        chosen: numbers of the layers whose outputs are used, ascending. 0 is the input of the first
            layer; the last layer's output includes the encoder's final norm.
        dim: width of the output of one layer.
        width: width of the output of `forward`: the chosen layers concatenated.
        built: number of layers that were built; those above the ones needed are not.
        keyframe_layer: the layers above this one run on keyframes; None: there are none.
        architecture: the configuration it was built from.
    """

    chosen: tuple[int, ...]
    dim: int

    def __init__(self, config: PretrainedConfig, layers: int, dim: int) -> None:
        super().__init__()
        self.chosen = chosen_layers(config, layers)
        self.keyframe_layer = config.keyframe_layer
        self.built = max(self.chosen) if self.keyframe_layer is None else layers
        self.dim = dim
        self.width = dim * len(self.chosen)
        self.architecture = dict(config.architecture or {})

    @abstractmethod
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (B, T, F) of lengths (B,) to outputs (B, N, width) of lengths (B,)."""

    @abstractmethod
    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Lengths (B,) of the outputs of features of these lengths (B,)."""

    @abstractmethod
    def upper(self, vectors: Tensor, places: Tensor, lengths: Tensor) -> Tensor:
        """Run the layers above `keyframe_layer`, and the final norm, on keyframes.

        Args:
            vectors: (B, K, dim) outputs of `keyframe_layer`, or means of them.
            places: (B, K) number of the output, 50 per second, at which each keyframe lies.
            lengths: (B,) keyframes per utterance.

        Returns:
            (B, K, dim); anything past the length.
        """

    @abstractmethod
    def encoder_layers(self) -> Iterator[nn.Module]:
        """The layers that were built, in order."""

    @abstractmethod
    def final_modules(self) -> Iterator[nn.Module]:
        """The modules after the last layer, trained together with it."""

    def unfreeze_from(self, layer: int | None) -> None:
        """Make the layers from this number on trainable; 0: the whole encoder, None: nothing.

        Raises:
            ModelError: there is no such layer, or the network does not use it.
        """
        self.requires_grad_(False)
        if layer is None:
            return
        layers = list(self.encoder_layers())
        if layer > len(layers):
            raise ModelError(
                f"unfreeze_from_layer is {layer}, but the network uses {len(layers)} layers of the "
                f"pretrained encoder; choose 0 to {len(layers)}"
            )
        if layer == 0:
            self.requires_grad_(True)
            self._keep_constants()
            return
        for module in (*layers[layer - 1 :], *self.final_modules()):
            module.requires_grad_(True)

    def divide_at(self, layer: int) -> None:
        """Let `forward` end at this layer, although the others were built; `upper` runs them."""
        self.chosen, self.width, self.keyframe_layer = (layer,), self.dim, layer

    def is_frozen(self, unfreeze_from: int | None) -> bool:
        """True if `forward` uses no layer that is trained from this number on."""
        upper = self.keyframe_layer
        return unfreeze_from is None or (upper is not None and unfreeze_from > upper)

    def lower_state(self) -> dict[str, Tensor]:
        """The weights that `forward` depends on, by name."""
        if self.keyframe_layer is None:
            return self.state_dict()
        layers = list(self.encoder_layers())[self.keyframe_layer :]
        others = {
            id(weight)
            for module in (*layers, *self.final_modules())
            for weight in module.state_dict(keep_vars=True).values()
        }
        state = self.state_dict(keep_vars=True)
        return {name: value for name, value in state.items() if id(value) not in others}

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """Stay in evaluation mode: dropout and masking are never used."""
        super().train(False)
        return self

    def _keep_constants(self) -> None:
        """Freeze parameters that are constants in the original."""


class LayerSum(nn.Module):
    """The learned weighted sum of concatenated layer outputs; the weights sum to 1."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    def forward(self, outputs: Tensor) -> Tensor:
        """Map (B, N, layers · D) to (B, N, D)."""
        weights = self.scores.softmax(dim=0).to(outputs.dtype)
        layers: Tensor = outputs.unflatten(-1, (len(weights), -1))
        return (layers * weights.unsqueeze(-1)).sum(dim=-2)


def chosen_layers(config: PretrainedConfig, layers: int) -> tuple[int, ...]:
    """Numbers of the layers chosen by a recipe, ascending; `layers` is the encoder's total.

    Raises:
        ModelError: the encoder has no such layer, or none above `keyframe_layer`.
    """
    upper = config.keyframe_layer
    if upper is not None and upper >= layers:
        raise ModelError(
            f"'{config.source}' has {layers} layers, but model.pretrained.keyframe_layer is "
            f"{upper}, which leaves none for the keyframes; choose 1 to {layers - 1}"
        )
    wanted = config.layers or [layers if upper is None else upper]
    if max(wanted) > layers:
        raise ModelError(
            f"'{config.source}' has {layers} layers, but model.pretrained.layers asks for "
            f"{max(wanted)}; choose 0 to {layers}"
        )
    return tuple(sorted(set(wanted)))
