"""Tokenizers: text to token ids and back, as characters, sentencepiece pieces, or both.

Ids 0, 1 and 2 are reserved: blank (the ε of AXE and TIL), unknown, and start/end of text for the
decoder. Real tokens start at 3; `vocab_size` includes the reserved ids.
"""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

import sentencepiece

from keyframe_asr.config.recipe import TokenizerConfig, TokenizerKind
from keyframe_asr.errors import ManifestError, ModelError, RecipeError
from keyframe_asr.text.scripts import HAN, is_han

__all__ = [
    "BLANK",
    "END",
    "TOKENIZER_FILES",
    "UNKNOWN",
    "UNKNOWN_TEXT",
    "CharacterTokenizer",
    "MixedTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "train_tokenizer",
]

BLANK, UNKNOWN, END = 0, 1, 2
UNKNOWN_TEXT = "⁇"
"""Stands for an unknown token in decoded text."""

_SPECIAL = ("<blank>", "<unk>", "<sos/eos>")
_SPACE = "<space>"
_WORD_BOUNDARY = "▁"
_CHARACTERS_FILE = "tokenizer.txt"
_SENTENCEPIECE_FILE = "tokenizer.model"
_MIXED_FILE = "tokenizer.mixed.model"

_SPACE_NEXT_TO_HAN = re.compile(rf" (?=[{HAN}])|(?<=[{HAN}]) ")

TOKENIZER_FILES = (_SENTENCEPIECE_FILE, _CHARACTERS_FILE, _MIXED_FILE)
"""File names of a tokenizer; a model folder contains one of them."""


class Tokenizer(ABC):
    """Maps text to token ids and back; runs of white space become one space."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of ids, including the three reserved ids."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Convert a text to ids; units outside the vocabulary become `UNKNOWN`."""

    @abstractmethod
    def unknown(self, text: str) -> list[str]:
        """Return the units of a text that `encode` maps to `UNKNOWN`, in order, with repeats."""

    @abstractmethod
    def piece(self, token: int) -> str:
        """Return the text of one token; sentencepiece keeps the word boundary "▁"."""

    def surface(self, token: int) -> str:
        """Return the letters of one token, with "▁" where a word begins."""
        return self.piece(token).replace(" ", _WORD_BOUNDARY)

    @property
    @abstractmethod
    def kind(self) -> TokenizerKind:
        """Its `tokenizer.kind` in a recipe."""

    @property
    @abstractmethod
    def file_name(self) -> str:
        """Name of the file to write `content` to: one of `TOKENIZER_FILES`."""

    @abstractmethod
    def content(self) -> bytes:
        """Serialise the tokenizer for `load_tokenizer`."""

    def decode(self, ids: Sequence[int]) -> str:
        """Convert ids to text; blank and end are skipped, unknown becomes "⁇"."""
        pieces = [
            UNKNOWN_TEXT if token == UNKNOWN else self.piece(token)
            for token in ids
            if token not in (BLANK, END)
        ]
        return _collapse("".join(pieces).replace(_WORD_BOUNDARY, " "))


class CharacterTokenizer(Tokenizer):
    """One id per character, in the order given; stored one symbol per line, line number = id."""

    kind: TokenizerKind = "characters"
    file_name = _CHARACTERS_FILE

    def __init__(self, symbols: Sequence[str]) -> None:
        self._symbols = [*_SPECIAL, *symbols]
        self._ids = {symbol: index for index, symbol in enumerate(self._symbols) if index > END}
        if len(self._ids) != len(symbols):
            raise ValueError("the symbols of a character tokenizer must be unique")

    @property
    def vocab_size(self) -> int:
        return len(self._symbols)

    def encode(self, text: str) -> list[int]:
        return [self._ids.get(symbol, UNKNOWN) for symbol in _collapse(text)]

    def unknown(self, text: str) -> list[str]:
        return [symbol for symbol in _collapse(text) if symbol not in self._ids]

    def piece(self, token: int) -> str:
        return self._symbols[_checked(token, self.vocab_size)]

    def content(self) -> bytes:
        lines = [_SPACE if symbol == " " else symbol for symbol in self._symbols]
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def load(cls, path: Path) -> CharacterTokenizer:
        """Read `tokenizer.txt`. Raises `ModelError` if the file is not valid."""
        try:
            content = path.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{path}: cannot be read: {error}; copy the model again") from None
        lines = content.replace("\r\n", "\n").split("\n")
        if tuple(lines[:3]) != _SPECIAL or lines[-1] != "":
            raise ModelError(
                f"{path}: not a character tokenizer: it must start with the lines "
                f"{', '.join(_SPECIAL)} and end with a line break; copy the model again"
            )
        symbols = [" " if line == _SPACE else line for line in lines[3:-1]]
        if any(len(symbol) != 1 for symbol in symbols) or len(set(symbols)) != len(symbols):
            raise ModelError(
                f"{path}: a line is not a single symbol or is repeated; copy the model again"
            )
        return cls(symbols)


class SentencePieceTokenizer(Tokenizer):
    """A sentencepiece model (arXiv 1808.06226) with the three reserved ids."""

    kind: TokenizerKind = "sentencepiece"
    file_name = _SENTENCEPIECE_FILE

    def __init__(self, model: bytes) -> None:
        self._processor = sentencepiece.SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(model)
        self._pieces: list[str] = [
            self._processor.IdToPiece(index) for index in range(self._processor.GetPieceSize())
        ]
        if tuple(self._pieces[:3]) != _SPECIAL:
            raise ValueError(f"its first pieces are not {', '.join(_SPECIAL)}")

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    def encode(self, text: str) -> list[int]:
        return list(self._processor.EncodeAsIds(_collapse(text)))

    def unknown(self, text: str) -> list[str]:
        pieces = self._processor.EncodeAsPieces(_collapse(text))
        found = [piece for piece in pieces if self._processor.PieceToId(piece) == UNKNOWN]
        return [piece.replace(_WORD_BOUNDARY, "") for piece in found]

    def piece(self, token: int) -> str:
        return self._pieces[_checked(token, self.vocab_size)]

    def content(self) -> bytes:
        return bytes(self._processor.serialized_model_proto())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read `tokenizer.model`. Raises `ModelError` if the file is not valid."""
        try:
            return cls(path.read_bytes())
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ModelError(
                f"{path}: not a tokenizer of this project: {reason}; copy the model again"
            ) from None


class MixedTokenizer(SentencePieceTokenizer):
    """Every Han character is a token; sentencepiece divides the text between them.

    As in the code-switching recipes of WeNet and ESPnet. The Han characters are symbols of the
    sentencepiece model. Spaces next to a Han character are no part of the text.
    """

    kind = "mixed"
    file_name = _MIXED_FILE

    def encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for part in _han_and_other(text):
            if is_han(part):
                ids.append(self._processor.PieceToId(part))
            else:
                ids += self._processor.EncodeAsIds(part)
        return ids

    def unknown(self, text: str) -> list[str]:
        found: list[str] = []
        for part in _han_and_other(text):
            if not is_han(part):
                found += super().unknown(part)
            elif self._processor.PieceToId(part) == UNKNOWN:
                found.append(part)
        return found

    def surface(self, token: int) -> str:
        """Return the letters of one token; a Han character begins a word."""
        piece = super().surface(token)
        return _WORD_BOUNDARY + piece if is_han(piece) else piece

    def decode(self, ids: Sequence[int]) -> str:
        """Convert ids to text, as `Tokenizer.decode`, without spaces next to Han characters."""
        return _SPACE_NEXT_TO_HAN.sub("", super().decode(ids))


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig) -> Tokenizer:
    """Build a tokenizer from training texts; deterministic.

    `vocab_size` is an upper bound: a small text may contain fewer distinct units.

    Raises:
        RecipeError: `vocab_size` is missing, or too small for the characters of the texts.
        ManifestError: all texts are empty.
    """
    lines = [line for line in map(_collapse, texts) if line]
    if not lines:
        raise ManifestError("the training texts are all empty; check the manifest's text column")
    if config.kind == "characters":
        return CharacterTokenizer(_most_frequent_symbols(lines, config.vocab_size))
    if config.kind == "mixed":
        return _train_mixed(lines, config)
    return SentencePieceTokenizer(_train_sentencepiece(lines, config))


def load_tokenizer(folder: Path, vocab_size: int | None = None) -> Tokenizer:
    """Load the tokenizer of a model folder.

    Raises:
        ModelError: it is missing or damaged, or does not have `vocab_size` tokens.
    """
    found = _load_tokenizer(folder)
    if vocab_size is not None and found.vocab_size != vocab_size:
        raise ModelError(
            f"{folder}: the tokenizer has {found.vocab_size} tokens, but config.yaml says "
            f"{vocab_size}; the files belong to different models, copy the model again"
        )
    return found


def _load_tokenizer(folder: Path) -> Tokenizer:
    if (folder / _SENTENCEPIECE_FILE).is_file():
        return SentencePieceTokenizer.load(folder / _SENTENCEPIECE_FILE)
    if (folder / _MIXED_FILE).is_file():
        return MixedTokenizer.load(folder / _MIXED_FILE)
    if (folder / _CHARACTERS_FILE).is_file():
        return CharacterTokenizer.load(folder / _CHARACTERS_FILE)
    raise ModelError(
        f"{folder}: contains none of {', '.join(TOKENIZER_FILES)}; "
        "give the folder of a trained model"
    )


def _most_frequent_symbols(lines: Sequence[str], vocab_size: int | None) -> list[str]:
    counts = Counter(symbol for line in lines for symbol in line)
    ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    if vocab_size is not None:
        ranked = ranked[: vocab_size - len(_SPECIAL)]
    return sorted(ranked)


def _train_mixed(lines: Sequence[str], config: TokenizerConfig) -> MixedTokenizer:
    parts = [part for line in lines for part in _han_and_other(line)]
    han = sorted({part for part in parts if is_han(part)})
    others = [part for part in parts if not is_han(part)]
    if not others:
        raise RecipeError(
            "tokenizer.kind is mixed, but the training texts have nothing but Han characters; "
            "choose characters"
        )
    return MixedTokenizer(_train_sentencepiece(others, config, han))


def _train_sentencepiece(
    lines: Sequence[str], config: TokenizerConfig, han: Sequence[str] = ()
) -> bytes:
    """Train a model on the lines; the Han characters are added to its vocabulary."""
    if config.vocab_size is None:
        raise RecipeError("tokenizer.vocab_size is missing; sentencepiece needs it, e.g. 100")
    # the characters, the word boundary (which is the space) and the reserved ids
    needed = len({symbol for line in lines for symbol in line} | {" "}) + len(_SPECIAL)
    if config.model_type != "word" and config.vocab_size < needed:
        raise RecipeError(
            f"tokenizer.vocab_size is {config.vocab_size}, too small for the characters of the "
            f"training texts; give at least {needed}"
        )
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=config.model_type,
            vocab_size=config.vocab_size + len(han),
            user_defined_symbols=list(han),
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            max_sentence_length=max(4192, *(len(line.encode()) + 1 for line in lines)),
            num_threads=1,
            pad_id=BLANK,
            unk_id=UNKNOWN,
            bos_id=-1,
            eos_id=END,
            pad_piece=_SPECIAL[BLANK],
            unk_piece=_SPECIAL[UNKNOWN],
            eos_piece=_SPECIAL[END],
            minloglevel=2,
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(
            f"tokenizer: sentencepiece cannot train {config.vocab_size} {config.model_type} pieces "
            f"on the training texts: {reason}; try another vocab_size"
        ) from None
    return model.getvalue()


def _han_and_other(text: str) -> list[str]:
    """Split a text into single Han characters and what is between them, without outer spaces."""
    parts: list[str] = []
    joins = False
    for symbol in _collapse(text):
        if is_han(symbol) or not joins:
            parts.append(symbol)
        else:
            parts[-1] += symbol
        joins = not is_han(symbol)
    return [part.strip() for part in parts if part.strip()]


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _checked(token: int, vocab_size: int) -> int:
    if not 0 <= token < vocab_size:
        raise IndexError(f"token id {token} is outside the vocabulary of {vocab_size}")
    return token
