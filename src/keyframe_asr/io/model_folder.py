"""Model folders: `config.yaml`, `model.safetensors`, tokenizers and a model card.

Weights are stored as float16, or as 8-bit integers on request, and converted to float32 on loading;
the feature statistics (CMVN) stay float32. A folder with a base model holds only the weights that
differ from it. A language model that `config.yaml` names is a file of the folder, too. Folders are
written atomically.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from keyframe_asr.config.model import ModelFolderConfig, load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.io.atomic_write import replacing_folder
from keyframe_asr.io.base_model import (
    decoder_tokenizer_file,
    describe_base,
    moved_base,
    weight_files,
)
from keyframe_asr.io.decoder_tokenizers import load_decoder_tokenizer
from keyframe_asr.io.model_copy import (
    content_of,
    copy_model_folder,
    copy_with_weights,
    described,
    save_model_config,
    store_decoding,
)
from keyframe_asr.io.model_location import (
    CARD_FILE,
    CONFIG_FILE,
    GRAPHS_FOLDER,
    OTHER_NAMES,
    WEIGHTS_FILE,
    find_model,
    graphs_fit,
    is_exported,
    language_model_file,
    shipped_model,
    shipped_models,
)
from keyframe_asr.io.pretrained_decoder import EMBEDDING, with_vocabulary
from keyframe_asr.io.quantisation import (
    integer_weights,
    stored_parts,
    with_quantised,
    without_quantised,
)
from keyframe_asr.io.weights_file import read_own, read_stored, split_from_base, write_stored
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.decoder_tokenizer import DECODER_TOKENIZER_FILE, DecoderTokenizer
from keyframe_asr.text.decoder_vocabulary import Pruned
from keyframe_asr.text.tokenizer import Tokenizer, load_tokenizer

__all__ = [
    "CARD_FILE",
    "CONFIG_FILE",
    "OTHER_NAMES",
    "WEIGHTS_FILE",
    "Storage",
    "StoredModel",
    "copy_model_folder",
    "find_model",
    "language_model_file",
    "load_model_folder",
    "quantise_model_folder",
    "save_model_config",
    "save_model_folder",
    "shipped_model",
    "shipped_models",
    "store_decoding",
]


@dataclass(frozen=True)
class StoredModel:
    """Content of a model folder; the network is in evaluation mode, float32, on the CPU."""

    network: KeyframeNetwork
    tokenizer: Tokenizer
    config: ModelFolderConfig
    language_model: Path | None = None
    """The model's own language model."""
    decoder_tokenizer: DecoderTokenizer | None = None
    """Tokens of its pretrained decoder, if it has one."""


@dataclass(frozen=True)
class Storage:
    """How the weights of a model folder are stored."""

    quantised: Collection[str] = ()
    """Weights stored as 8-bit integers, but for the memory of a pretrained decoder; other trained
    weights are stored as float16."""
    base: str | Path | None = None
    """Model, by name or folder, whose equal weights are not stored again."""
    standalone: bool = False
    """Store the weights that equal the base's, too, and as the base stores them."""


def save_model_folder(
    folder: Path,
    network: KeyframeNetwork,
    tokenizer: Tokenizer,
    config: ModelFolderConfig,
    readme: str,
    storage: Storage = Storage(),
    language_model: Path | None = None,
    decoder_tokenizer: DecoderTokenizer | None = None,
) -> None:
    """Write a model folder, replacing an older model at the same path.

    Args:
        folder: path of the folder.
        network: its weights are stored.
        tokenizer: stored.
        config: stored; its `base` follows from `storage`.
        readme: model card.
        storage: how the weights are stored.
        language_model: file to store as `config.decoding.language_model`. Default: the file of that
            name in the folder that is replaced.
        decoder_tokenizer: of a pretrained decoder; stored.

    Graphs of the base are stored, too, if the model has the same architecture.

    Raises:
        ModelError: a weight is not finite as it is stored, there is no such base or language model,
            or the folder exists and is not a model folder, is needed by the base, or cannot be
            written.
    """
    if not _may_be_replaced(folder):
        raise ModelError(f"{folder}: exists and is not a model folder; choose another path")
    weights, in_base = network.state_dict(), list[str]()
    taken: dict[str, Tensor] = {}
    config = config.model_copy(update={"base": None})
    if storage.base is not None:
        base = _usable_base(storage.base, folder)
        stored_base = read_stored(base / WEIGHTS_FILE)
        weights, in_base = split_from_base(weights, without_quantised(stored_base))
        if storage.standalone:
            for name in in_base:
                taken |= stored_parts(stored_base, name)
            in_base = []
        else:
            named = describe_base(storage.base, folder)
            config = config.model_copy(update={"base": named})
    trained = {name for name, _ in network.named_parameters()}
    stored = with_quantised(_narrowed(weights, trained), _without_memory(storage.quantised)) | taken
    files = {tokenizer.file_name: tokenizer.content(), CARD_FILE: readme.encode()}
    if decoder_tokenizer is not None and not _is_lent(decoder_tokenizer, config, storage):
        files[DECODER_TOKENIZER_FILE] = decoder_tokenizer.content()
    if (own := language_model_file(config)) is not None:
        files[own] = content_of(language_model or folder / own, folder)
    with replacing_folder(folder, "choose another path", ModelError) as written:
        write_stored(written / WEIGHTS_FILE, stored, in_base)
        for name, content in files.items():
            (written / name).write_bytes(content)
        (written / CONFIG_FILE).write_text(described(config), encoding="utf-8")
        if storage.base is not None:
            _take_graphs(storage.base, written, config)


def _take_graphs(base: str | Path, folder: Path, config: ModelFolderConfig) -> None:
    """Copy the graphs of the base, if it has some that fit."""
    source = find_model(base)
    if not graphs_fit(source, config):
        return
    shutil.copytree(source / GRAPHS_FOLDER, folder / GRAPHS_FOLDER)
    card = f"""# {config.name}, exported to ONNX

The graphs of its base `{Path(base).name}`, which has the same architecture, with the weights of
{config.name}. Not compared with torch: `keyframe export MODEL --int8 --verify MANIFEST` does that.
"""
    (folder / GRAPHS_FOLDER / CARD_FILE).write_text(card, encoding="utf-8")


def _is_lent(
    decoder_tokenizer: DecoderTokenizer, config: ModelFolderConfig, storage: Storage
) -> bool:
    """True if the base has the same tokenizer of a pretrained decoder, so that it suffices."""
    if config.base is None or storage.base is None:
        return False
    path = decoder_tokenizer_file(find_model(storage.base))
    return path.is_file() and path.read_bytes() == decoder_tokenizer.content()


def _may_be_replaced(folder: Path) -> bool:
    try:
        return not folder.exists() or (folder / CONFIG_FILE).is_file() or not any(folder.iterdir())
    except OSError:  # a file, or a folder without permission
        return False


def _usable_base(model: str | Path, folder: Path) -> Path:
    """Find a base. Raises `ModelError` if writing `folder` would replace it or one of its bases."""
    base = find_model(model)
    if folder.resolve() in [file.parent.resolve() for file in weight_files(base / WEIGHTS_FILE)]:
        raise ModelError(f"{folder}: the base model itself, or a base of it; choose another path")
    return base


def load_model_folder(folder: Path, *, integers: bool = False) -> StoredModel:
    """Load a model folder.

    With `integers`, for recognition on the CPU, a pretrained decoder computes with the integers
    that are stored, where this torch can. Such a network cannot be trained or saved.

    Raises:
        ModelError: a file or the base model is missing or damaged, or does not match the others, or
            the folder is an export.
        RecipeError: `config.yaml` contains an invalid key or value.
    """
    if is_exported(folder):
        raise ModelError(
            f"{folder}: is an export, which runs on onnxruntime only, and this needs torch; give "
            "the model that it was exported from"
        )
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: contains no {name}; give the folder of a trained model")
    config = load_model_folder_config(folder / CONFIG_FILE)
    tokenizer = load_tokenizer(folder, config.vocab_size)
    own = language_model_file(config)
    if own is not None and not (folder / own).is_file():
        raise ModelError(
            f"{folder}: contains no {own}, the language model that {CONFIG_FILE} names; copy the "
            "model again, or set decoding.language_model to null"
        )
    of_decoder = load_decoder_tokenizer(folder, config.model.pretrained_decoder)
    network = KeyframeNetwork(config.model, config.features.num_mel_bins, config.vocab_size)
    stored = read_stored(folder / WEIGHTS_FILE)
    _load_weights(folder / WEIGHTS_FILE, without_quantised(stored), network)
    if integers:
        network.use_integers(integer_weights(stored))
    network.keyframes_enabled = config.keyframes
    network.fusion_enabled = config.fusion
    language_model = None if own is None else folder / own
    return StoredModel(network.eval(), tokenizer, config, language_model, of_decoder)


def quantise_model_folder(
    source: Path, folder: Path, names: Collection[str], vocabulary: Pruned | None = None
) -> None:
    """Copy a model folder with the weights of these names as 8-bit integers.

    Weights that are in a base model stay there, and those that are quantised stay as they are. What
    makes the memory of a pretrained decoder is never quantised.

    Args:
        source: folder of the model.
        folder: path of the copy.
        names: of the weights.
        vocabulary: of its pretrained decoder from now on. The rows of its embedding are stored in
            the copy, even if those of all tokens are in a base model.

    Raises:
        ModelError: as `copy_model_folder`.
        RecipeError: as `copy_model_folder`.
    """
    config = load_model_folder_config(source / CONFIG_FILE)
    stored, in_base = read_own(source / WEIGHTS_FILE)
    if vocabulary is not None:
        every_row = stored_parts(read_stored(source / WEIGHTS_FILE), EMBEDDING)
        config, rows = with_vocabulary(config, every_row, vocabulary)
        stored |= rows
        in_base = [name for name in in_base if name != EMBEDDING]
    base = None if config.base is None else moved_base(config.base, source, folder)
    copy_with_weights(
        source,
        folder,
        config.model_copy(update={"base": base}),
        (with_quantised(stored, _without_memory(names)), in_base),
        None if vocabulary is None else vocabulary.tokenizer,
    )


def _without_memory(names: Collection[str]) -> list[str]:
    """Names of weights without those that make a pretrained decoder's memory.

    The adapter is close to the identity: in steps of a row's largest value, its 1, the others are
    mostly 0, and the decoder writes other texts.
    """
    return [name for name in names if not name.startswith("decoder_memory.")]


def _narrowed(weights: dict[str, Tensor], trained: Collection[str]) -> dict[str, Tensor]:
    """Trained weights as float16, statistics as they are."""
    stored = {}
    for name, tensor in weights.items():
        kept = tensor.detach().cpu().contiguous()
        stored[name] = kept.to(torch.float16) if name in trained else kept
        if not stored[name].isfinite().all():
            raise ModelError(f"weight '{name}' is not finite as float16; train again")
    return stored


def _load_weights(path: Path, weights: dict[str, Tensor], network: KeyframeNetwork) -> None:
    """Load weights as float32; check their names, shapes and values against the network."""
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - weights), sorted(weights.keys() - expected)
    if missing or unknown:
        problem = f"lacks '{missing[0]}'" if missing else f"has the unknown '{unknown[0]}'"
        raise ModelError(f"{path}: {problem}; it does not match the {CONFIG_FILE} next to it")
    for name, tensor in weights.items():
        if tensor.shape != expected[name].shape:
            raise ModelError(
                f"{path}: '{name}' has the shape {tuple(tensor.shape)}, but {CONFIG_FILE} needs "
                f"{tuple(expected[name].shape)}; the files belong to different models"
            )
        if not tensor.isfinite().all():
            raise ModelError(f"{path}: '{name}' is not finite; copy the model again")
    network.load_state_dict({name: one.to(expected[name].dtype) for name, one in weights.items()})
