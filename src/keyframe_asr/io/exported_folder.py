"""Folders of exported models: what recognition needs besides the graphs; no torch.

The graphs are opened by `runtime.network`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keyframe_asr.config.model import ModelFolderConfig, load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.io.model_location import CONFIG_FILE, language_model_file
from keyframe_asr.text.decoder_tokenizer import DECODER_TOKENIZER_FILE, DecoderTokenizer
from keyframe_asr.text.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class ExportedModel:
    """Content of the folder of an export; its graphs stay there."""

    folder: Path
    tokenizer: Tokenizer
    config: ModelFolderConfig
    language_model: Path | None = None
    """The model's own language model."""
    decoder_tokenizer: DecoderTokenizer | None = None
    """Tokens of its pretrained decoder, if it has one."""


def load_exported(folder: Path) -> ExportedModel:
    """Read the folder of an export.

    Raises:
        ModelError: a file is missing or damaged.
        RecipeError: `config.yaml` contains an invalid key or value.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise ModelError(
            f"{folder}: contains no {CONFIG_FILE}; give a folder that keyframe export wrote"
        )
    config = load_model_folder_config(folder / CONFIG_FILE)
    named = language_model_file(config)
    language_model = None if named is None else folder / named
    of_decoder = folder / DECODER_TOKENIZER_FILE
    decoder = config.model.pretrained_decoder
    for path in (language_model, None if decoder is None else of_decoder):
        if path is not None and not path.is_file():
            raise ModelError(
                f"{folder}: contains no {path.name}, which {CONFIG_FILE} asks for; export the "
                "model again"
            )
    decoder_tokenizer = None
    if decoder is not None:
        size = int((decoder.architecture or {}).get("vocab_size", 0))
        decoder_tokenizer = DecoderTokenizer(of_decoder.read_bytes(), size)
    tokenizer = load_tokenizer(folder, config.vocab_size)
    return ExportedModel(folder, tokenizer, config, language_model, decoder_tokenizer)
