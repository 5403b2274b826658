"""An open pretrained speech encoder under the network's own layers.

A `PretrainedEncoder` maps what its front end gives of each utterance to outputs of its layers, 50 a
second. Each family is one file beside this one. What they have in common: padding changes nothing,
no dropout ever (frozen outputs are computed once and stored), and freezing by layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from keyframe_asr.config.model import PretrainedConfig
from keyframe_asr.errors import ModelError

OUTPUTS_PER_SECOND = 50
"""Of every family: their first convolutions take 20 ms steps."""


class PretrainedEncoder(nn.Module, ABC):
    """The chosen layers' outputs of an open encoder.

    Attributes:
        chosen: numbers of the layers whose outputs are taken, ascending; 0 is what enters the
            first, the highest there is comes with the encoder's last norm.
        dim: width of one layer's outputs.
        width: of what `forward` gives: the chosen layers' outputs side by side.
        architecture: the configuration it was built from.
    """

    chosen: tuple[int, ...]
    dim: int

    def __init__(self, config: PretrainedConfig, layers: int, dim: int) -> None:
        super().__init__()
        self.chosen = chosen_layers(config, layers)
        self.dim = dim
        self.width = dim * len(self.chosen)
        self.architecture = dict(config.architecture or {})

    @abstractmethod
    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Front-end features (B, T, F), lengths (B,); outputs (B, N, width), lengths (B,)."""

    @abstractmethod
    def own_layers(self) -> Iterator[nn.Module]:
        """The layers that were built, the first first."""

    @abstractmethod
    def trainable_after(self) -> Iterator[nn.Module]:
        """What comes after the last layer, trained whenever that layer is."""

    def unfreeze_from(self, layer: int | None) -> None:
        """Let the layers from this number on be trained; 0: everything, None: nothing.

        Raises:
            ModelError: there is no such layer, or the network takes nothing from it.
        """
        self.requires_grad_(False)
        if layer is None:
            return
        layers = list(self.own_layers())
        if layer > len(layers):
            raise ModelError(
                f"unfreeze_from_layer is {layer}, but the network uses {len(layers)} layers of the "
                "pretrained encoder; choose one of them"
            )
        if layer == 0:
            self.requires_grad_(True)
            self._keep_constants()
            return
        for module in (*layers[layer - 1 :], *self.trainable_after()):
            module.requires_grad_(True)

    def train(self, mode: bool = True) -> PretrainedEncoder:
        """Stays as in evaluation: its dropout and masking are never used."""
        super().train(False)
        return self

    def _keep_constants(self) -> None:
        """Freeze again what is not trained in the original either."""


class LayerSum(nn.Module):
    """The weighted sum of layers given side by side; the weights are learned and sum to 1."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(layers))

    def forward(self, outputs: Tensor) -> Tensor:
        """(B, N, layers · D) to (B, N, D)."""
        weights = self.scores.softmax(dim=0).to(outputs.dtype)
        layers: Tensor = outputs.unflatten(-1, (len(weights), -1))
        return (layers * weights.unsqueeze(-1)).sum(dim=-2)


def chosen_layers(config: PretrainedConfig, layers: int) -> tuple[int, ...]:
    """Numbers of the layers a recipe chooses, of an encoder that has so many, ascending.

    Raises:
        ModelError: it has no such layer.
    """
    wanted = config.layers or [layers]
    if max(wanted) > layers:
        raise ModelError(
            f"'{config.source}' has {layers} layers, but model.pretrained.layers asks for "
            f"{max(wanted)}; choose 0 to {layers}"
        )
    return tuple(sorted(set(wanted)))
