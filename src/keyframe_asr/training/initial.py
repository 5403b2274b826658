"""Weights that a training starts from: of another run, or of a model, as far as they fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from keyframe_asr.data.model_folder import WEIGHTS_FILE
from keyframe_asr.data.model_names import find_model
from keyframe_asr.data.quantised_weights import without_quantised
from keyframe_asr.errors import ModelError, TrainingError
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.training.checkpoint import load_weights

DEPTHWISE = ".depthwise.weight"
"""What the weights of the Conformer's convolutions over time end with."""


def initial_weights(named: str | Path) -> Path:
    """The file of weights that is named: itself, or that of a model by folder or name.

    Raises:
        TrainingError: it is neither.
    """
    path = Path(named)
    if path.is_file():
        return path
    try:
        return find_model(named) / WEIGHTS_FILE
    except ModelError as error:
        raise TrainingError(f"{error}; or a .safetensors file to start from") from None


def load_matching(network: KeyframeNetwork, path: Path, forget: Sequence[str] = ()) -> list[str]:
    """Load the tensors of a file that fit the network; returns the names of those it lacks.

    Parts of the network named in `forget` are left as they are, and are not among the names.

    Depthwise kernels over more or fewer frames are cut or padded around their middle.

    Raises:
        TrainingError: the file cannot be read, or nothing in it fits; the network has no such part
            to forget.
    """
    parts = [name for name, _ in network.named_children()]
    if unknown := [name for name in forget if name not in parts]:
        raise TrainingError(
            f"the network has no part '{unknown[0]}' to forget; its parts are {', '.join(parts)}"
        )
    own = {
        name: weight
        for name, weight in network.state_dict().items()
        if name.split(".")[0] not in forget
    }
    weights = without_quantised(load_weights(path))
    centred = {
        name: _centred(weight, own[name].shape[-1]) if name.endswith(DEPTHWISE) else weight
        for name, weight in weights.items()
        if name in own
    }
    fitting = {name: weight for name, weight in centred.items() if own[name].shape == weight.shape}
    if not fitting:
        raise TrainingError(f"{path}: none of its weights fits the recipe's model")
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in fitting.items()}, strict=False)
    return sorted(set(own) - set(fitting))


def _centred(kernel: Tensor, size: int) -> Tensor:
    """A kernel (D, 1, taps) with an odd number of taps, cut or padded with zeros to `size`."""
    margin = (size - kernel.shape[-1]) // 2
    return torch.nn.functional.pad(kernel, (margin, margin))
