"""Copy model folders and exports, and change what is stored beside their weights.

Only weights that are written need torch.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from keyframe_asr.config.decoding import DecodingConfig
from keyframe_asr.config.model import ModelFolderConfig, load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.io.atomic_write import replacing, replacing_folder, write_whole
from keyframe_asr.io.base_model import moved_base
from keyframe_asr.io.decoder_tokenizers import load_decoder_tokenizer
from keyframe_asr.io.model_location import (
    CONFIG_FILE,
    GRAPHS_FOLDER,
    WEIGHTS_FILE,
    graphs_fit,
    has_graphs,
    is_exported,
    language_model_file,
)
from keyframe_asr.packages import packages_for
from keyframe_asr.text.decoder_tokenizer import DECODER_TOKENIZER_FILE, DecoderTokenizer

if TYPE_CHECKING:
    from torch import Tensor


def copy_model_folder(
    source: Path, folder: Path, config: ModelFolderConfig, *, standalone: bool = False
) -> None:
    """Copy a model folder to a new path, with another `config.yaml`.

    The path of a base model is adapted to the new place.

    Args:
        source: folder of the model.
        folder: path of the copy.
        config: its `config.yaml`, with the base of the source.
        standalone: also store the weights of the base, as they are stored there, so that the copy
            needs no base.

    Raises:
        ModelError: the path exists or cannot be written, or the base is missing or another one.
        PackageError: the copy is standalone, and torch is not installed.
        RecipeError: a `config.yaml` is not valid.
    """
    standalone = standalone and not is_exported(source)  # which has no base
    weights = None
    if standalone:
        with packages_for(f"{source}: a copy with the weights of its base"):
            from keyframe_asr.io.weights_file import read_stored

        weights = (read_stored(source / WEIGHTS_FILE), list[str]())
    base = None if standalone or config.base is None else moved_base(config.base, source, folder)
    whole = config.model_copy(update={"base": base})
    tokenizer = load_decoder_tokenizer(source, config.model.pretrained_decoder)
    copy_with_weights(source, folder, whole, weights, tokenizer if standalone else None)


def copy_with_weights(
    source: Path,
    folder: Path,
    config: ModelFolderConfig,
    weights: tuple[dict[str, Tensor], list[str]] | None,
    decoder_tokenizer: DecoderTokenizer | None = None,
) -> None:
    """Copy a folder with another config and, if given, other weights (and names of the base's)."""
    if folder.exists():
        raise ModelError(f"{folder}: already exists; choose another path")
    with replacing_folder(folder, "choose another path", ModelError) as written:
        hidden = shutil.ignore_patterns(".*")  # left by a process that was killed
        shutil.copytree(source, written, dirs_exist_ok=True, ignore=hidden)
        if weights is not None:
            from keyframe_asr.io.weights_file import write_stored

            write_stored(written / WEIGHTS_FILE, *weights)
        if decoder_tokenizer is not None:
            (written / DECODER_TOKENIZER_FILE).write_bytes(decoder_tokenizer.content())
        if has_graphs(source) and not graphs_fit(source, config):
            shutil.rmtree(written / GRAPHS_FOLDER)
        save_model_config(written, config)


def save_model_config(folder: Path, config: ModelFolderConfig) -> None:
    """Replace `config.yaml` of a model folder. Raises `ModelError` if it cannot be written."""
    write_whole(folder / CONFIG_FILE, described(config), "use --out", ModelError)


def store_decoding(folder: Path, decoding: DecodingConfig, language_model: Path | None) -> None:
    """Store how a model is decoded, and its language model, in its folder.

    Args:
        folder: of the model.
        decoding: replaces that of `config.yaml`.
        language_model: file that becomes `decoding.language_model`, from any place.

    Raises:
        ModelError: a file cannot be read or written.
    """
    config = load_model_folder_config(folder / CONFIG_FILE)
    before = language_model_file(config)
    config = config.model_copy(update={"decoding": decoding})
    after = language_model_file(config)
    if after is not None and language_model is not None and language_model != folder / after:
        with replacing(folder / after, "use --out", ModelError) as written:
            written.write_bytes(content_of(language_model, folder))
    save_model_config(folder, config)
    if before not in (None, after):
        (folder / str(before)).unlink(missing_ok=True)


def described(config: ModelFolderConfig) -> str:
    """Return the content of `config.yaml`."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def content_of(path: Path, folder: Path) -> bytes:
    """Read the language model of a folder. Raises `ModelError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{folder}: its language model {path} cannot be read ({error.strerror}); give the "
            "file, or a config without decoding.language_model"
        ) from None
