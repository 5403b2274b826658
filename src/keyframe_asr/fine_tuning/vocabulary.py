"""Other text units for a model: its own, extended by letters, or new ones.

Extending appends units, so the rows of the old ones in heads and embedding stay, and old texts are
still divided as before: no old text has a new letter, and a new piece of sentencepiece has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.config.recipe import TokenizerConfig, TokenizerKind
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.io.model_folder import StoredModel, save_model_folder
from keyframe_asr.model.network import KeyframeNetwork
from keyframe_asr.text.tokenizer import (
    CharacterTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    train_tokenizer,
)

TOKENS_PER_UNIT = 20
"""A new vocabulary has a sentencepiece unit for so many letters of the training texts."""

LARGEST_NEW = 500


def without_alphabet(form: TextForm) -> TextForm:
    """The form, but with all letters and accents kept, so that a vocabulary can be extended."""
    return form.model_copy(update={"alphabet": None, "accents": "keep"})


def extended(tokenizer: Tokenizer, texts: Iterable[str]) -> Tokenizer:
    """Append the letters of the texts that a tokenizer lacks, if there are any."""
    lacking = {letter for text in texts for unit in tokenizer.unknown(text) for letter in unit}
    new = sorted(lacking - {" "})
    if not new:
        return tokenizer
    if isinstance(tokenizer, CharacterTokenizer):
        old = [tokenizer.piece(token) for token in range(3, tokenizer.vocab_size)]
        return CharacterTokenizer([*old, *new])
    assert isinstance(tokenizer, SentencePieceTokenizer)
    return type(tokenizer)(_with_pieces(tokenizer.content(), new))


def _with_pieces(content: bytes, letters: Sequence[str]) -> bytes:
    from sentencepiece import sentencepiece_model_pb2  # needs protobuf, which tensorboard brings

    model: Any = vars(sentencepiece_model_pb2)["ModelProto"]()
    model.ParseFromString(content)
    least = min(piece.score for piece in model.pieces)
    for letter in letters:
        model.pieces.add(piece=letter, score=least - 1.0, type=model.SentencePiece.NORMAL)
    serialised: bytes = model.SerializeToString()
    return serialised


def new_tokenizer(form: TextForm, texts: Sequence[str]) -> Tokenizer:
    """Train a tokenizer on texts in a form: characters for scripts without spaces, else pieces."""
    if form.separation == "none":
        return train_tokenizer(texts, TokenizerConfig())
    letters = {letter for text in texts for letter in text}
    size = min(LARGEST_NEW, sum(map(len, texts)) // TOKENS_PER_UNIT)
    kind: TokenizerKind = "sentencepiece" if form.separation == "spaces" else "mixed"
    config = TokenizerConfig(kind=kind, vocab_size=max(size, len(letters) + 8), model_type="bpe")
    return train_tokenizer(texts, config)


def start_with(
    stored: StoredModel, tokenizer: Tokenizer, config: ModelFolderConfig, folder: Path, *, new: bool
) -> None:
    """Write the model with other text units, from which fine-tuning starts.

    Args:
        stored: the model.
        tokenizer: the other units: if not `new`, the model's come first.
        config: of the folder.
        folder: where to write it.
        new: initialise all units randomly, not only those that the model lacks.
    """
    torch.manual_seed(0)
    fresh = KeyframeNetwork(config.model, config.features.num_mel_bins, tokenizer.vocab_size)
    old = stored.network.state_dict()
    of_units = _vocabulary_tensors(config, stored.tokenizer.vocab_size)
    weights = {}
    for name, weight in fresh.state_dict().items():
        if name not in of_units:
            weights[name] = old[name]
        else:
            weights[name] = weight if new else _grown(old[name], weight, of_units[name])
    fresh.load_state_dict(weights)
    of_decoder = stored.decoder_tokenizer
    save_model_folder(folder, fresh, tokenizer, config, "", decoder_tokenizer=of_decoder)


def _vocabulary_tensors(config: ModelFolderConfig, size: int) -> dict[str, int]:
    """Names of the tensors with a row or column per unit, and the number of that dimension."""
    bins = config.features.num_mel_bins
    with torch.device("meta"):
        one, other = (
            KeyframeNetwork(config.model, bins, count).state_dict() for count in (size, size + 1)
        )
    return {
        name: next(d for d in range(weight.dim()) if weight.shape[d] != other[name].shape[d])
        for name, weight in one.items()
        if weight.shape != other[name].shape
    }


def _grown(old: Tensor, fresh: Tensor, dimension: int) -> Tensor:
    """The old weights with rows for more units; these are unlikely at first."""
    count = old.shape[dimension]
    added = fresh.narrow(dimension, count, fresh.shape[dimension] - count)
    if old.dim() == 1:  # a bias
        added = torch.full_like(added, float(old.min()))
    return torch.cat([old, added.to(old.dtype)], dim=dimension)
