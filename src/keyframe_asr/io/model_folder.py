"""Model folders: `config.yaml`, `model.safetensors`, the tokenizer and a model card.

Weights are stored as float16, or as 8-bit integers where that is asked for, and computed with as
float32; the feature statistics (CMVN) keep float32. A folder is written beside its place and
renamed, so that it is there whole or not at all.

8-bit integers are symmetric, per output row (Jacob et al., 2018, section 3, with a zero point of
0): each row of a matrix becomes integers in [-127, 127] and a scale, its greatest magnitude / 127.
That is a quarter of float32, half of float16.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from keyframe_asr.config.model import ModelFolderConfig, load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.io.atomic_write import replacing_folder, write_whole
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import Tokenizer, load_tokenizer

CONFIG_FILE = "config.yaml"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"

SCALE_SUFFIX = ".row_scale"
"""Follows the name of a quantised weight in the name of its scales."""

LARGEST = 127


@dataclass(frozen=True)
class StoredModel:
    """What a model folder holds; the network is in evaluation mode, float32, on the CPU."""

    network: KeyframeNetwork
    tokenizer: Tokenizer
    config: ModelFolderConfig


def find_model(model: str | Path) -> Path:
    """The folder of a model. Raises `ModelError`, naming the shipped ones, if there is none."""
    folder = Path(model)
    if (folder / CONFIG_FILE).is_file():
        return folder
    shipped = shipped_models()
    if str(model) in shipped:
        return shipped[str(model)]
    names = ", ".join(shipped) or "none"
    if (folder / "model" / CONFIG_FILE).is_file():
        raise ModelError(f"{model}: is the folder of a training run; give {folder / 'model'}")
    if folder.is_dir():
        raise ModelError(
            f"{model}: holds no {CONFIG_FILE}; give a model folder, or one of: {names}"
        )
    raise ModelError(
        f"{model}: no such model folder, and no model of that name is shipped; shipped are: {names}"
    )


def shipped_models() -> dict[str, Path]:
    """Folder of each model inside the package, by name."""
    root = Path(str(resources.files("keyframe_asr"))) / "models"
    folders = sorted(root.iterdir()) if root.is_dir() else []
    return {folder.name: folder for folder in folders if (folder / CONFIG_FILE).is_file()}


def save_model_folder(
    folder: Path,
    network: KeyframeNetwork,
    tokenizer: Tokenizer,
    config: ModelFolderConfig,
    readme: str,
    dtype: torch.dtype = torch.float16,
    quantised: Collection[str] = (),
) -> None:
    """Write a model folder, in place of an older one at the same path.

    Trained weights are stored as `dtype`, but as 8-bit integers if `quantised` names them.

    Raises:
        ModelError: a weight is not finite in `dtype`, or the folder is something else than a
            model folder, or cannot be written.
    """
    if folder.exists() and not (folder / CONFIG_FILE).is_file() and any(folder.iterdir()):
        raise ModelError(f"{folder}: exists and is no model folder; choose another place")
    weights = with_quantised(_stored_weights(network, dtype), quantised)
    with replacing_folder(folder, "choose another place", ModelError) as written:
        save_file(weights, written / WEIGHTS_FILE)
        (written / tokenizer.file_name).write_bytes(tokenizer.content())
        (written / CONFIG_FILE).write_text(_described(config), encoding="utf-8")
        (written / CARD_FILE).write_text(readme, encoding="utf-8")


def load_model_folder(folder: Path) -> StoredModel:
    """Rebuild the network of a model folder.

    Raises:
        ModelError: a file is missing, damaged, or does not fit the others.
        RecipeError: `config.yaml` holds a key or value that is not valid.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: holds no {name}; give the folder of a trained model")
    config = load_model_folder_config(folder / CONFIG_FILE)
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size != config.vocab_size:
        raise ModelError(
            f"{folder}: its tokenizer has {tokenizer.vocab_size} units, but {CONFIG_FILE} says "
            f"{config.vocab_size}; the files are not of one model, copy it again"
        )
    network = KeyframeNetwork(config.model, config.features.num_mel_bins, config.vocab_size)
    network.load_state_dict(_checked_weights(folder / WEIGHTS_FILE, network))
    network.keyframes_enabled = config.keyframes
    network.fusion_enabled = config.fusion
    return StoredModel(network.eval(), tokenizer, config)


def copy_model_folder(source: Path, folder: Path, config: ModelFolderConfig) -> None:
    """Write what a model folder holds, with another `config.yaml`, to a place where nothing is.

    Raises:
        ModelError: the place is taken or cannot be written.
    """
    if folder.exists():
        raise ModelError(f"{folder}: exists already; choose another place")
    with replacing_folder(folder, "choose another place", ModelError) as written:
        shutil.copytree(source, written, dirs_exist_ok=True)
        save_model_config(written, config)


def save_model_config(folder: Path, config: ModelFolderConfig) -> None:
    """Replace `config.yaml` of a model folder. Raises `ModelError` if it cannot be written."""
    write_whole(folder / CONFIG_FILE, _described(config), "use --out", ModelError)


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight (R, ...) of two or more dimensions as int8 and its scales (R,) float32."""
    rows = weight.detach().float().flatten(1)
    scale = rows.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
    return (rows / scale.unsqueeze(1)).round().to(torch.int8).reshape(weight.shape), scale


def dequantise(integers: Tensor, scale: Tensor) -> Tensor:
    """The float32 weight of `quantise`, each value off by half a scale of its row at most."""
    return integers.float() * scale.reshape(-1, *[1] * (integers.dim() - 1))


def with_quantised(weights: dict[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """The weights with those of these names, where they are matrices, as integers and scales."""
    stored = {}
    for name, weight in weights.items():
        if name in names and weight.dim() >= 2:
            stored[name], stored[name + SCALE_SUFFIX] = quantise(weight)
        else:
            stored[name] = weight
    return stored


def without_quantised(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `with_quantised` was given, up to rounding."""
    return {
        name: dequantise(weight, stored[name + SCALE_SUFFIX])
        if name + SCALE_SUFFIX in stored
        else weight
        for name, weight in stored.items()
        if not name.endswith(SCALE_SUFFIX)
    }


def _described(config: ModelFolderConfig) -> str:
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _stored_weights(network: KeyframeNetwork, dtype: torch.dtype) -> dict[str, Tensor]:
    trained = {name for name, _ in network.named_parameters()}
    stored = {}
    for name, tensor in network.state_dict().items():
        kept = tensor.detach().cpu().contiguous()
        stored[name] = kept.to(dtype) if name in trained else kept
        if not stored[name].isfinite().all():
            raise ModelError(f"weight '{name}' is not finite as {dtype}; train again")
    return stored


def _checked_weights(path: Path, network: KeyframeNetwork) -> dict[str, Tensor]:
    """The stored weights as float32, once names and shapes are those of the network."""
    try:
        stored = without_quantised(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read: {error}; copy the model again") from None
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - stored), sorted(stored.keys() - expected)
    if missing or unknown:
        problem = f"lacks '{missing[0]}'" if missing else f"has the unknown '{unknown[0]}'"
        raise ModelError(f"{path}: {problem}; it does not belong to the {CONFIG_FILE} beside it")
    for name, tensor in stored.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{path}: '{name}' has the shape {tuple(tensor.shape)}, but {CONFIG_FILE} asks for "
                f"{tuple(expected[name].shape)}; the files are not of one model"
            )
        if not tensor.isfinite().all():
            raise ModelError(f"{path}: '{name}' is not finite; copy the model again")
    return {name: tensor.to(expected[name].dtype) for name, tensor in stored.items()}
