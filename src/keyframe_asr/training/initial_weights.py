"""Initial weights: load those of another run or model that match the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from keyframe_asr.config.recipe import Recipe
from keyframe_asr.data.statistics import Statistics
from keyframe_asr.errors import ModelError, TrainingError
from keyframe_asr.io.model_location import CONFIG_FILE, WEIGHTS_FILE, find_model
from keyframe_asr.io.pretrained_source import load_original
from keyframe_asr.io.weights_file import read_weights
from keyframe_asr.model.network import KeyframeNetwork, build_pretrained
from keyframe_asr.model.pretrained import PretrainedEncoder
from keyframe_asr.text.tokenizer import Tokenizer, load_tokenizer
from keyframe_asr.training.log import TrainingLog
from keyframe_asr.training.objective import DECODER_PARTS

DEPTHWISE = ".depthwise.weight"
"""Suffix of the weights of the Conformer's convolutions over time."""

PRETRAINED = "pretrained."
"""Prefix of the weights of a pretrained encoder."""

MIN_MATCHING = 0.1
"""Smallest fraction of the network's weights, without a pretrained encoder's, that must match."""

_VOCABULARY_PARTS = ("inter_ctc", "conditioning", "head", "decoder")


def find_weights(named: str | Path) -> Path:
    """Find a weights file: a .safetensors file, or that of a model by folder or name.

    Raises:
        TrainingError: there is no such file or model.
    """
    path = Path(named)
    if path.is_file():
        return path
    if path.suffix == ".safetensors":
        raise TrainingError(f"{path}: no such file; give weights (.safetensors) or a model")
    try:
        return find_model(named) / WEIGHTS_FILE
    except ModelError as error:
        raise TrainingError(f"{error}; or give weights (.safetensors)") from None


def _weights_of(path: Path) -> dict[str, Tensor]:
    """Read a weights file; if it belongs to a model folder, with the weights of its base."""
    try:
        return read_weights(path)
    except ModelError as error:
        raise TrainingError(str(error)) from None


def original_encoder(recipe: Recipe) -> PretrainedEncoder | None:
    """Load the original pretrained encoder of a recipe; None if it has none.

    Raises:
        ModelError: the source cannot be read, or `transformers` is not installed.
    """
    pretrained = recipe.model.pretrained
    if pretrained is None:
        return None
    encoder = build_pretrained(pretrained)
    load_original(encoder, pretrained)
    return encoder


def load_encoder(encoder: PretrainedEncoder, path: Path) -> None:
    """Load the pretrained encoder in a weights file into `encoder`, if all of it matches."""
    weights = _weights_of(path)
    own = encoder.state_dict()
    found = {name: weights.get(PRETRAINED + name) for name in own}
    fitting = {
        name: weight.to(own[name].dtype)
        for name, weight in found.items()
        if weight is not None and weight.shape == own[name].shape
    }
    if fitting.keys() == own.keys():
        encoder.load_state_dict(fitting)


def initial_statistics(path: Path | None, level: float | None) -> Statistics:
    """Return the feature statistics stored with initial weights, for features at `level`.

    Raises:
        TrainingError: there are no initial weights, or they have no statistics.
    """
    weights = {} if path is None else _weights_of(path)
    names = [f"normalisation.{name}" for name in ("mean", "inverse_std")]
    if any(name not in weights for name in names):
        raise TrainingError(
            "data.statistics is initial, but training starts from no model; give one with "
            "--initial, or set data.statistics: train"
        )
    mean, inverse_std = (weights[name].float().tolist() for name in names)
    return {"mean": mean, "inverse_std": inverse_std, "level": level}


def load_initial(
    network: KeyframeNetwork,
    path: Path,
    tokenizer: Tokenizer,
    reinitialise: Sequence[str],
    log: TrainingLog,
) -> None:
    """Load the initial weights that match the network; tell about the others.

    Raises:
        TrainingError: as `load_matching`.
    """
    others = vocabulary_parts(network, path, tokenizer)
    lacking = load_matching(network, path, [*reinitialise, *others])
    if network.pretrained_decoder is not None:  # it has the weights of its source
        lacking = [name for name in lacking if name.split(".")[0] not in DECODER_PARTS]
    fresh = list(dict.fromkeys([*others, *(name.split(".")[0] for name in lacking)]))
    if not fresh:
        return
    if all(part in _VOCABULARY_PARTS for part in fresh):
        log.info(
            f"{path.parent}: has another vocabulary; the layers that depend on it are new "
            f"({', '.join(fresh)})"
        )
    else:
        log.warning(
            f"{path}: no matching weights for {len(lacking)} of {len(network.state_dict())} "
            f"tensors, in {', '.join(fresh)}, which are initialised randomly"
        )


def vocabulary_parts(network: KeyframeNetwork, path: Path, tokenizer: Tokenizer) -> list[str]:
    """List the parts that depend on the vocabulary if the file's model has another of equal size.

    With a different size, the shapes would not match anyway.
    """
    if not (path.parent / CONFIG_FILE).is_file():
        return []
    other = load_tokenizer(path.parent)
    size = tokenizer.vocab_size
    if other.vocab_size != size or all(other.piece(i) == tokenizer.piece(i) for i in range(size)):
        return []
    parts = [name for name, _ in network.named_children() if name in _VOCABULARY_PARTS]
    return [part for part in parts if part != "decoder" or network.own_decoder is not None]


def load_matching(
    network: KeyframeNetwork, path: Path, reinitialise: Sequence[str] = ()
) -> list[str]:
    """Load the tensors of a file that match the network in name and shape.

    Parts named in `reinitialise` are not loaded. Depthwise kernels over more or fewer frames are
    cropped or padded around their centre.

    Returns:
        Names of the tensors that the file lacks, without those of `reinitialise`.

    Raises:
        TrainingError: the file or its base model cannot be read, less than `MIN_MATCHING` of the
            weights match, or the network has no part named in `reinitialise`.
    """
    parts = [name for name, _ in network.named_children()]
    if unknown := [name for name in reinitialise if name not in parts]:
        raise TrainingError(
            f"the network has no part '{unknown[0]}' to re-initialise; choose from "
            f"{', '.join(parts)}"
        )
    own = {
        name: weight
        for name, weight in network.state_dict().items()
        if name.split(".")[0] not in reinitialise
    }
    weights = _weights_of(path)
    centred = {
        name: _centred(weight, own[name].shape[-1]) if name.endswith(DEPTHWISE) else weight
        for name, weight in weights.items()
        if name in own
    }
    fitting = {name: weight for name, weight in centred.items() if own[name].shape == weight.shape}
    wanted, found = (_count_own(one, network) for one in (own, fitting))
    if not fitting or found < MIN_MATCHING * wanted:
        raise TrainingError(
            f"{path}: only {found / max(1, wanted):.0%} of the weights match the model of the "
            "recipe; give a model of the same width, or train from scratch"
        )
    network.load_state_dict({k: v.to(own[k].dtype) for k, v in fitting.items()}, strict=False)
    return sorted(set(own) - set(fitting))


def new_network(recipe: Recipe, vocab_size: int) -> KeyframeNetwork:
    """Build the network of a recipe with random weights from its seed."""
    torch.manual_seed(recipe.seed)
    return KeyframeNetwork(recipe.model, recipe.features.num_mel_bins, vocab_size)


def reinitialise_parts(network: KeyframeNetwork, parts: Sequence[str], recipe: Recipe) -> None:
    """Re-initialise parts of the network with the weights of a newly built network."""
    if not parts:
        return
    fresh = new_network(recipe, network.vocab_size)
    for part in parts:
        network.get_submodule(part).load_state_dict(fresh.get_submodule(part).state_dict())


def _count_own(weights: Mapping[str, Tensor], network: KeyframeNetwork) -> int:
    """Count the weights outside a pretrained encoder and decoder."""
    other = (
        ("pretrained",) if network.pretrained_decoder is None else ("pretrained", *DECODER_PARTS)
    )
    return sum(one.numel() for name, one in weights.items() if name.split(".")[0] not in other)


def _centred(kernel: Tensor, size: int) -> Tensor:
    """Crop a kernel (D, 1, taps) with an odd number of taps, or pad it with zeros, to `size`."""
    margin = (size - kernel.shape[-1]) // 2
    return torch.nn.functional.pad(kernel, (margin, margin))
