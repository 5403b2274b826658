"""Find and load a pretrained decoder: its weights and its tokenizer.

The source is a whole Whisper as `transformers` stores it (`config.json`, safetensors and
`tokenizer.json`), in a folder or in the local Hugging Face cache, or a model of this project with a
pretrained decoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from keyframe_asr.config.model import (
    ModelFolderConfig,
    PretrainedDecoderConfig,
    load_model_folder_config,
)
from keyframe_asr.errors import ModelError
from keyframe_asr.io.base_model import decoder_tokenizer_file
from keyframe_asr.io.decoder_tokenizers import read_decoder_tokenizer
from keyframe_asr.io.model_location import CONFIG_FILE
from keyframe_asr.io.pretrained_source import find_source, read_config, read_source_weights
from keyframe_asr.model.whisper_decoder import WhisperDecoder
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer
from keyframe_asr.text.decoder_vocabulary import Pruned, with_lost_merges

HUGGING_FACE_TOKENIZER = "tokenizer.json"

PREFIXES = ("decoder.", "model.decoder.")
"""Prefixes of the decoder's weights; the first is that of model folders of this project, too."""


def decoder_architecture(config: PretrainedDecoderConfig) -> dict[str, Any]:
    """Read the `config.json` of a source.

    Raises:
        ModelError: the source cannot be found or read, or has no Whisper decoder.
    """
    folder = find_source(config.source)
    if not (folder / CONFIG_FILE).is_file():
        return read_config(folder, "whisper", "model.decoder needs a Whisper")
    own = load_model_folder_config(folder / CONFIG_FILE).model.pretrained_decoder
    if own is None or own.architecture is None:
        raise ModelError(
            f"{folder}: the model has no pretrained decoder; give a model that has one, or a "
            "folder with a whole Whisper"
        )
    return own.architecture


def load_decoder(decoder: WhisperDecoder, config: PretrainedDecoderConfig) -> None:
    """Load the weights of the source into the decoder, as float32.

    Raises:
        ModelError: the weights cannot be found or read, or do not match.
    """
    folder = find_source(config.source)
    stored = read_source_weights(folder)
    own = decoder.state_dict()
    prefix = max(PREFIXES, key=lambda prefix: sum(prefix + name in stored for name in own))
    if lacking := [name for name in own if prefix + name not in stored]:
        raise ModelError(
            f"{folder}: the weights lack the decoder's '{lacking[0]}'; give the folder of a whole "
            "Whisper"
        )
    found = {name: stored[prefix + name] for name in own}
    for name, weight in found.items():
        if weight.shape != own[name].shape:
            raise ModelError(
                f"{folder}: the decoder's '{name}' has the shape {tuple(weight.shape)}, but the "
                f"config needs {tuple(own[name].shape)}; the files belong to different models"
            )
    decoder.load_state_dict({name: one.to(own[name].dtype) for name, one in found.items()})


def source_tokenizer(config: PretrainedDecoderConfig) -> DecoderTokenizer:
    """Read the tokenizer of a source, whose architecture is known; lost merges are restored.

    Raises:
        ModelError: it cannot be found or read.
    """
    folder = find_source(config.source)
    is_own = (folder / CONFIG_FILE).is_file()
    path = decoder_tokenizer_file(folder) if is_own else folder / HUGGING_FACE_TOKENIZER
    found = read_decoder_tokenizer(path, config)
    return DecoderTokenizer(with_lost_merges(found.content()), found.vocab_size)


EMBEDDING = "decoder.embed_tokens.weight"
"""Name of the embedding in a model folder; its rows are the tokens."""


def with_vocabulary(
    config: ModelFolderConfig, stored: dict[str, Tensor], found: Pruned
) -> tuple[ModelFolderConfig, dict[str, Tensor]]:
    """Give a model with a pretrained decoder a smaller vocabulary.

    Args:
        config: of the model folder.
        stored: what is stored of `EMBEDDING`.
        found: the vocabulary.

    Returns:
        The new config, and the kept rows.

    Raises:
        ModelError: the vocabulary lacks a language of the model.
    """
    decoder = config.model.pretrained_decoder
    assert decoder is not None
    for language in config.languages:
        found.tokenizer.prompt(language)
    rows = torch.tensor(found.kept)
    sizes = {
        key: value
        for key, value in (decoder.architecture or {}).items()
        if not key.endswith("token_id")  # of the old vocabulary
    }
    sizes["vocab_size"] = len(found.kept)
    changed = decoder.model_copy(update={"architecture": sizes})
    model = config.model.model_copy(update={"decoder": changed})
    return config.model_copy(update={"model": model}), {
        name: tensor.index_select(0, rows).contiguous() for name, tensor in stored.items()
    }
