"""Model folders: `config.yaml`, `model.safetensors`, the tokenizer and a model card.

Weights are stored as float16, or as 8-bit integers on request, and converted to float32 on loading;
the feature statistics (CMVN) stay float32. Folders are written atomically.

8-bit quantisation is symmetric, per output row (Jacob et al., 2018, section 3, with zero point 0):
each row of a matrix is stored as integers in [-127, 127] and a scale, its largest magnitude / 127.
This takes a quarter of the space of float32, half of float16.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from contextlib import suppress
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
"""Suffix of the name of a quantised weight's scales."""

LARGEST = 127

OTHER_NAMES = {"english": "english-l2", "an4": "an4-small"}
"""Names by which shipped models are also found."""


@dataclass(frozen=True)
class StoredModel:
    """Content of a model folder; the network is in evaluation mode, float32, on the CPU."""

    network: KeyframeNetwork
    tokenizer: Tokenizer
    config: ModelFolderConfig


def find_model(model: str | Path) -> Path:
    """Find the folder of a model by path or shipped name.

    Raises:
        ModelError: there is none, or it cannot be opened.
    """
    try:
        return _found(model)
    except (OSError, ValueError) as error:  # a folder without permission, a name that is too long
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(
            f"{model}: cannot be opened ({reason}); check its permissions, or give another model"
        ) from None


def _found(model: str | Path) -> Path:
    folder = Path(model)
    if os.path.isfile(folder / CONFIG_FILE):  # False for a path that is too long, too
        return folder
    if (found := shipped_model(str(model))) is not None:
        return found
    shipped = shipped_models()
    names = ", ".join(shipped) or "none"
    if os.path.isfile(folder / "model" / CONFIG_FILE):
        raise ModelError(f"{model}: the folder of a training run; give {folder / 'model'}")
    if os.path.isdir(folder):
        with suppress(FileNotFoundError):
            os.stat(folder / CONFIG_FILE)  # raises where permissions hide the file
        raise ModelError(
            f"{model}: contains no {CONFIG_FILE}; give a model folder, or one of: {names}"
        )
    raise ModelError(f"{model}: no such model; give a model folder, or one of: {names}")


def shipped_model(name: str) -> Path | None:
    """Return the folder of a shipped model by any of its names; None if there is none."""
    return shipped_models().get(OTHER_NAMES.get(name, name))


def shipped_models() -> dict[str, Path]:
    """Return the folders of the models shipped with the package, by name."""
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
    """Write a model folder, replacing an older model at the same path.

    Trained weights are stored as `dtype`; those named in `quantised` as 8-bit integers.

    Raises:
        ModelError: a weight is not finite in `dtype`, or the folder exists and is not a model
            folder, or cannot be written.
    """
    if not _may_be_replaced(folder):
        raise ModelError(f"{folder}: exists and is not a model folder; choose another path")
    weights = with_quantised(_stored_weights(network, dtype), quantised)
    with replacing_folder(folder, "choose another path", ModelError) as written:
        try:
            save_file(weights, written / WEIGHTS_FILE)
        except SafetensorError as error:  # raised if the disk is full
            raise OSError(str(error)) from None
        (written / tokenizer.file_name).write_bytes(tokenizer.content())
        (written / CONFIG_FILE).write_text(_described(config), encoding="utf-8")
        (written / CARD_FILE).write_text(readme, encoding="utf-8")


def _may_be_replaced(folder: Path) -> bool:
    try:
        return not folder.exists() or (folder / CONFIG_FILE).is_file() or not any(folder.iterdir())
    except OSError:  # a file, or a folder without permission
        return False


def load_model_folder(folder: Path) -> StoredModel:
    """Load a model folder.

    Raises:
        ModelError: a file is missing or damaged, or does not match the others.
        RecipeError: `config.yaml` contains an invalid key or value.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: contains no {name}; give the folder of a trained model")
    config = load_model_folder_config(folder / CONFIG_FILE)
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size != config.vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, but {CONFIG_FILE} says "
            f"{config.vocab_size}; the files belong to different models, copy the model again"
        )
    network = KeyframeNetwork(config.model, config.features.num_mel_bins, config.vocab_size)
    network.load_state_dict(_checked_weights(folder / WEIGHTS_FILE, network))
    network.keyframes_enabled = config.keyframes
    network.fusion_enabled = config.fusion
    return StoredModel(network.eval(), tokenizer, config)


def copy_model_folder(source: Path, folder: Path, config: ModelFolderConfig) -> None:
    """Copy a model folder to a new path, with another `config.yaml`.

    Raises:
        ModelError: the path exists or cannot be written.
    """
    if folder.exists():
        raise ModelError(f"{folder}: already exists; choose another path")
    with replacing_folder(folder, "choose another path", ModelError) as written:
        shutil.copytree(source, written, dirs_exist_ok=True)
        save_model_config(written, config)


def save_model_config(folder: Path, config: ModelFolderConfig) -> None:
    """Replace `config.yaml` of a model folder. Raises `ModelError` if it cannot be written."""
    write_whole(folder / CONFIG_FILE, _described(config), "use --out", ModelError)


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise a weight (R, ...) of two or more dimensions to int8 and scales (R,) float32."""
    rows = weight.detach().float().flatten(1)
    scale = rows.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
    return (rows / scale.unsqueeze(1)).round().to(torch.int8).reshape(weight.shape), scale


def dequantise(integers: Tensor, scale: Tensor) -> Tensor:
    """Invert `quantise` to float32; values differ by at most half the scale of their row."""
    return integers.float() * scale.reshape(-1, *[1] * (integers.dim() - 1))


def with_quantised(weights: dict[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Quantise the weights of these names that are matrices; leave all others."""
    stored = {}
    for name, weight in weights.items():
        if name in names and weight.dim() >= 2:
            stored[name], stored[name + SCALE_SUFFIX] = quantise(weight)
        else:
            stored[name] = weight
    return stored


def without_quantised(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Invert `with_quantised`, up to rounding."""
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
    """Load the weights as float32; check their names, shapes and values against the network."""
    try:
        stored = without_quantised(load_file(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be read: {error}; copy the model again") from None
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - stored), sorted(stored.keys() - expected)
    if missing or unknown:
        problem = f"lacks '{missing[0]}'" if missing else f"has the unknown '{unknown[0]}'"
        raise ModelError(f"{path}: {problem}; it does not match the {CONFIG_FILE} next to it")
    for name, tensor in stored.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{path}: '{name}' has the shape {tuple(tensor.shape)}, but {CONFIG_FILE} needs "
                f"{tuple(expected[name].shape)}; the files belong to different models"
            )
        if not tensor.isfinite().all():
            raise ModelError(f"{path}: '{name}' is not finite; copy the model again")
    return {name: tensor.to(expected[name].dtype) for name, tensor in stored.items()}
