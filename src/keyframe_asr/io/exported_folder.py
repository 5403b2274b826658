"""What recognition needs of a model's folder besides its graphs; no torch.

The folder is an export, or that of a model with graphs beside its weights.

The graphs are opened by `runtime.network`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keyframe_asr.config.model import ModelFolderConfig, load_model_folder_config
from keyframe_asr.errors import ModelError
from keyframe_asr.io.base_model import decoder_tokenizer_file
from keyframe_asr.io.model_location import CONFIG_FILE, language_model_file
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer
from keyframe_asr.text.tokenizer import Tokenizer, load_tokenizer


@dataclass(frozen=True)
class ExportedModel:
    """Content of a folder with graphs, which stay there."""

    folder: Path
    tokenizer: Tokenizer
    config: ModelFolderConfig
    language_model: Path | None = None
    """The model's own language model."""
    decoder_tokenizer: DecoderTokenizer | None = None
    """Tokens of its pretrained decoder, if it has one."""


def load_exported(folder: Path) -> ExportedModel:
    """Read the folder of an export, or of a model with graphs.

    Raises:
        ModelError: a file is missing or damaged, or the base model of one is.
        RecipeError: `config.yaml` contains an invalid key or value.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise ModelError(
            f"{folder}: contains no {CONFIG_FILE}; give a folder that keyframe export wrote"
        )
    config = load_model_folder_config(folder / CONFIG_FILE)
    named = language_model_file(config)
    language_model = None if named is None else folder / named
    of_decoder = decoder_tokenizer_file(folder)
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
