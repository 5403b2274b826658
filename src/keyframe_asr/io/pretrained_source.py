"""Find and load the weights of a pretrained encoder.

The source is a folder with `config.json` and safetensors (the encoder alone or a whole checkpoint),
a name in the local Hugging Face cache, or a model of this project that contains a pretrained
encoder. Only a model named `hf://owner/name` is downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from keyframe_asr.config.model import PretrainedConfig, load_model_folder_config
from keyframe_asr.config.strict import parse_json
from keyframe_asr.errors import ModelError
from keyframe_asr.io.hub import PREFIX, fetch
from keyframe_asr.io.model_location import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    shipped_model,
    shipped_models,
)
from keyframe_asr.io.weights_file import read_weights
from keyframe_asr.model.pretrained import PretrainedEncoder
from keyframe_asr.packages import packages_for

MODEL_TYPES = {"whisper": "whisper", "wav2vec2": "wav2vec2"}
"""`model_type` in the `config.json` of each family."""

HUGGING_FACE_CONFIG = "config.json"

OWN_PREFIX = "pretrained.encoder."
"""Prefix of the encoder's weights in a model folder of this project."""

PREFIXES = {
    "whisper": ("", "encoder.", "model.encoder.", OWN_PREFIX),
    "wav2vec2": ("", "wav2vec2.", OWN_PREFIX),
}
"""Prefixes of the encoder's weights in checkpoints that contain more than the encoder."""

_IGNORED_KEYS = ("architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path")


def load_original(encoder: PretrainedEncoder, config: PretrainedConfig) -> None:
    """Load the weights of the source into the encoder, as float32.

    Raises:
        ModelError: the weights cannot be found or read, or do not match.
    """
    folder = find_source(config.source)
    stored = read_source_weights(folder)
    inside = "encoder."
    own = {name.removeprefix(inside): tensor for name, tensor in encoder.state_dict().items()}
    prefix = max(
        PREFIXES[config.family], key=lambda prefix: sum(prefix + name in stored for name in own)
    )
    renamed = {_renamed(name.removeprefix(prefix)): tensor for name, tensor in stored.items()}
    lacking = [name for name in own if name not in renamed and name not in _UNUSED]
    if lacking:
        raise ModelError(f"{folder}: the weights lack '{lacking[0]}'; copy the encoder again")
    misshapen = [n for n in own if n in renamed and renamed[n].shape != own[n].shape]
    if misshapen:
        name = misshapen[0]
        raise ModelError(
            f"{folder}: '{name}' has the shape {tuple(renamed[name].shape)}, but the config needs "
            f"{tuple(own[name].shape)}; the files belong to different models"
        )
    fitting = {inside + n: renamed[n].to(own[n].dtype) for n in own if n in renamed}
    encoder.load_state_dict(fitting, strict=False)


_UNUSED = ("masked_spec_embed",)
"""Embedding of masked frames, used only in pretraining; some checkpoints lack it."""


def find_source(source: str) -> Path:
    """Find the folder of a source.

    Raises:
        ModelError: the source is not a folder of an encoder or model, not a shipped model, and not
            in the local Hugging Face cache.
    """
    folder, shipped = Path(source), shipped_models()
    if any((folder / name).is_file() for name in (CONFIG_FILE, HUGGING_FACE_CONFIG)):
        return folder
    if (found_model := shipped_model(source)) is not None:
        return found_model
    if source.startswith(PREFIX):
        return fetch(source)
    if folder.is_dir():
        raise ModelError(
            f"{folder}: contains neither {HUGGING_FACE_CONFIG} (an encoder) nor {CONFIG_FILE} "
            "(a model); give the folder that does"
        )
    if source.startswith((".", "/")) or source.count("/") != 1:
        raise ModelError(
            f"{source}: no such folder or shipped model; give the folder of an encoder, a model "
            f"({', '.join(shipped)}), or a Hugging Face name such as openai/whisper-base"
        )
    with packages_for(f"{source}: no such folder; a Hugging Face name"):
        from transformers.utils.hub import cached_file
    try:
        found = cached_file(source, HUGGING_FACE_CONFIG, local_files_only=True)
    except (OSError, ValueError):
        found = None
    if found is None:
        raise ModelError(
            f"{source}: no such folder, and not in the local Hugging Face cache; give a folder, "
            f"or download it once: hf download {source}"
        )
    return Path(found).parent


def encoder_architecture(config: PretrainedConfig) -> dict[str, Any]:
    """Read the `config.json` of an encoder's source.

    Raises:
        ModelError: the source cannot be found or read, or belongs to another family.
    """
    folder = find_source(config.source)
    if (folder / CONFIG_FILE).is_file():
        return _architecture_of_model(folder, config)
    wanted = f"model.pretrained.family is '{config.family}'"
    return read_config(folder, MODEL_TYPES[config.family], wanted)


def read_config(folder: Path, model_type: str, wanted: str) -> dict[str, Any]:
    """Read the `config.json` of a pretrained model of this type; `wanted` says what asks for it.

    Raises:
        ModelError: it cannot be read, or belongs to another type of model.
    """
    path = folder / HUGGING_FACE_CONFIG
    try:
        found = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read: {error}; copy the model again") from None
    kind = found.get("model_type") if isinstance(found, dict) else None
    if kind != model_type:
        raise ModelError(
            f"{path}: model_type is '{kind}', but {wanted}; give a model of that family"
        )
    return {key: value for key, value in found.items() if key not in _IGNORED_KEYS}


def _architecture_of_model(folder: Path, config: PretrainedConfig) -> dict[str, Any]:
    """Return the architecture of the encoder inside a model of this project."""
    own = load_model_folder_config(folder / CONFIG_FILE).model.pretrained
    if own is None or own.architecture is None or own.family != config.family:
        kind = "no pretrained encoder" if own is None else f"an encoder of family '{own.family}'"
        raise ModelError(
            f"{folder}: the model has {kind}, but model.pretrained.family is '{config.family}'; "
            "give a model with an encoder of that family"
        )
    return own.architecture


def read_source_weights(folder: Path) -> dict[str, Tensor]:
    """Read all weights of a source's folder. Raises `ModelError` if they cannot be read."""
    if (folder / CONFIG_FILE).is_file():
        return read_weights(folder / WEIGHTS_FILE)
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{folder}: contains no .safetensors file; give the folder of an encoder")
    weights: dict[str, Tensor] = {}
    for file in files:
        try:
            weights.update(load_file(file))
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{file}: cannot be read: {error}; copy the encoder again") from None
    return weights


def _renamed(name: str) -> str:
    """Map a weight's name to newer versions of torch, which renamed those of weight norm."""
    return name.replace(".weight_g", ".parametrizations.weight.original0").replace(
        ".weight_v", ".parametrizations.weight.original1"
    )
