"""Weights that a training starts from: of another run, or of a model, as far as they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from keyframe_asr.config.recipe import Recipe
from keyframe_asr.errors import ModelError, TrainingError
from keyframe_asr.io.model_folder import CONFIG_FILE, WEIGHTS_FILE, find_model, without_quantised
from keyframe_asr.io.pretrained_source import load_original
from keyframe_asr.model.network import KeyframeNetwork, build_pretrained
from keyframe_asr.model.pretrained import PretrainedEncoder
from keyframe_asr.text.tokenizer import Tokenizer, load_tokenizer
from keyframe_asr.training.checkpoint import load_weights
from keyframe_asr.training.log import TrainingLog

DEPTHWISE = ".depthwise.weight"
"""What the weights of the Conformer's convolutions over time end with."""

PRETRAINED = "pretrained."
"""What the weights of a pretrained encoder begin with."""

LEAST_FITTING = 0.1
"""Share of the network's weights, but for a pretrained encoder's, that a file must have to fit."""

_PARTS_OF_UNITS = ("inter_ctc", "conditioning", "head", "decoder")


def find_weights(named: str | Path) -> Path:
    """The file of weights that is named: itself, or that of a model by folder or name.

    Raises:
        TrainingError: it is neither.
    """
    path = Path(named)
    if path.is_file():
        return path
    if path.suffix == ".safetensors":
        raise TrainingError(f"{path}: no such file; give weights (.safetensors) or a model")
    try:
        return find_model(named) / WEIGHTS_FILE
    except ModelError as error:
        raise TrainingError(f"{error}; weights (.safetensors) can be given too") from None


def original_encoder(recipe: Recipe) -> PretrainedEncoder | None:
    """The pretrained encoder that a recipe starts from, if it has one.

    Raises:
        ModelError: its source cannot be read, or `transformers` is not installed.
    """
    pretrained = recipe.model.pretrained
    if pretrained is None:
        return None
    encoder = build_pretrained(pretrained)
    load_original(encoder, pretrained)
    return encoder


def load_encoder(encoder: PretrainedEncoder, path: Path) -> None:
    """Put the pretrained encoder that a file of weights holds, if it fits, into `encoder`."""
    weights = without_quantised(load_weights(path))
    own = encoder.state_dict()
    found = {name: weights.get(PRETRAINED + name) for name in own}
    fitting = {
        name: weight.to(own[name].dtype)
        for name, weight in found.items()
        if weight is not None and weight.shape == own[name].shape
    }
    if fitting.keys() == own.keys():
        encoder.load_state_dict(fitting)


def load_initial(
    network: KeyframeNetwork,
    path: Path,
    tokenizer: Tokenizer,
    reinitialise: Sequence[str],
    log: TrainingLog,
) -> None:
    """Load what fits of the weights to start from, and say what does not.

    Raises:
        TrainingError: as `load_matching` does.
    """
    others = parts_of_other_units(network, path, tokenizer)
    if others:
        log.warning(f"{path.parent}: has other units; {', '.join(others)} start at random")
    if lacking := load_matching(network, path, [*reinitialise, *others]):
        every = len(network.state_dict())
        parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in lacking))
        log.warning(
            f"{path}: has no fitting weights for {len(lacking)} of {every} tensors, of {parts}"
        )


def parts_of_other_units(network: KeyframeNetwork, path: Path, tokenizer: Tokenizer) -> list[str]:
    """Parts of the network that know units, if those of the file's model are as many but others.

    Of other sizes they would not fit anyway.
    """
    if not (path.parent / CONFIG_FILE).is_file():
        return []
    other = load_tokenizer(path.parent)
    size = tokenizer.vocab_size
    if other.vocab_size != size or all(other.piece(i) == tokenizer.piece(i) for i in range(size)):
        return []
    return [name for name, _ in network.named_children() if name in _PARTS_OF_UNITS]


def load_matching(
    network: KeyframeNetwork, path: Path, reinitialise: Sequence[str] = ()
) -> list[str]:
    """Load the tensors of a file that fit the network; returns the names of those it lacks.

    Parts of the network named in `reinitialise` are left as they are, and are not among the names.

    Depthwise kernels over more or fewer frames are cut or padded around their middle.

    Raises:
        TrainingError: the file cannot be read, or next to nothing in it fits; the network has no
            such part.
    """
    parts = [name for name, _ in network.named_children()]
    if unknown := [name for name in reinitialise if name not in parts]:
        raise TrainingError(
            f"the network has no part '{unknown[0]}' to re-initialise; its parts are "
            f"{', '.join(parts)}"
        )
    own = {
        name: weight
        for name, weight in network.state_dict().items()
        if name.split(".")[0] not in reinitialise
    }
    weights = without_quantised(load_weights(path))
    centred = {
        name: _centred(weight, own[name].shape[-1]) if name.endswith(DEPTHWISE) else weight
        for name, weight in weights.items()
        if name in own
    }
    fitting = {name: weight for name, weight in centred.items() if own[name].shape == weight.shape}
    wanted, found = _count_own(own), _count_own(fitting)
    if not fitting or found < LEAST_FITTING * wanted:
        raise TrainingError(
            f"{path}: has only {found / max(1, wanted):.0%} of the weights of the recipe's model; "
            "give a model of the same widths, or train from nothing"
        )
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in fitting.items()}, strict=False)
    return sorted(set(own) - set(fitting))


def new_network(recipe: Recipe, vocab_size: int) -> KeyframeNetwork:
    """The network of a recipe with the random weights of its seed, a pretrained encoder's too."""
    torch.manual_seed(recipe.seed)
    return KeyframeNetwork(recipe.model, recipe.features.num_mel_bins, vocab_size)


def reinitialise_parts(network: KeyframeNetwork, parts: Sequence[str], recipe: Recipe) -> None:
    """Give parts of the network the weights of a new one, which is built whole for it."""
    if not parts:
        return
    fresh = new_network(recipe, network.vocab_size)
    for part in parts:
        network.get_submodule(part).load_state_dict(fresh.get_submodule(part).state_dict())


def _count_own(weights: Mapping[str, Tensor]) -> int:
    """How many numbers there are that no pretrained encoder brings."""
    return sum(one.numel() for name, one in weights.items() if not name.startswith(PRETRAINED))


def _centred(kernel: Tensor, size: int) -> Tensor:
    """A kernel (D, 1, taps) with an odd number of taps, cut or padded with zeros to `size`."""
    margin = (size - kernel.shape[-1]) // 2
    return torch.nn.functional.pad(kernel, (margin, margin))
