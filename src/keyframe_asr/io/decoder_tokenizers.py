"""The tokenizer of a pretrained decoder, in the folder of a run or model."""

from __future__ import annotations

from pathlib import Path

from keyframe_asr.config.model import PretrainedDecoderConfig
from keyframe_asr.errors import ModelError
from keyframe_asr.io.base_model import decoder_tokenizer_file
from keyframe_asr.text.decoder_tokenizer import DecoderTokenizer


def load_decoder_tokenizer(
    folder: Path, config: PretrainedDecoderConfig | None
) -> DecoderTokenizer | None:
    """Read the decoder's tokenizer in the folder of a run or model; None without such a decoder.

    Raises:
        ModelError: it is missing or cannot be read.
    """
    return (
        None if config is None else read_decoder_tokenizer(decoder_tokenizer_file(folder), config)
    )


def read_decoder_tokenizer(path: Path, config: PretrainedDecoderConfig) -> DecoderTokenizer:
    """Read the file of a tokenizer. Raises `ModelError` if it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: the decoder's tokenizer cannot be read ({error.strerror}); copy the model "
            "again"
        ) from None
    return DecoderTokenizer(content, int((config.architecture or {}).get("vocab_size", 0)))
