"""Tokens of a pretrained Whisper decoder: byte-level BPE and symbols for language and task.

Stored as `tokenizer.json` of the `tokenizers` library. Incomplete characters: a token may hold some
of the bytes of a character only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from keyframe_asr.errors import ModelError
from keyframe_asr.text.scripts import is_unspaced

DECODER_TOKENIZER_FILE = "decoder_tokenizer.json"
"""Its name in the folder of a run or model."""

ENGLISH_ONLY_SIZE = 51_864
"""Vocabulary of the Whispers for English only, whose prompt names no language (openai/whisper)."""

OTHER_CODES = {"cmn": "zh", "fil": "tl", "iw": "he", "jv": "jw", "nb": "no"}
"""Language codes that Whisper writes differently."""

_START, _END = "<|startoftranscript|>", "<|endoftext|>"
_TRANSCRIBE, _NO_TIMES = "<|transcribe|>", "<|notimestamps|>"
_BROKEN = "\ufffd"
_LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, and so its most tokens."""

# `non_speech_tokens` of openai/whisper: annotations such as "(laughs)" or notes
_SYMBOLS = [
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))"),
    *("(((", ")))", "[[", "]]", "{{", "}}", "♪♪", "♪♪♪"),
]
_SPACE = "\u0120"
"""A space, as byte-level BPE writes it."""

_NOTES = "♩♪♫♬♭♮♯"
_BEGINNINGS = (" -", " '")


class DecoderTokenizer:
    """Maps text to the decoder's token ids and back.

    Args:
        content: of `tokenizer.json`.
        vocab_size: number of the decoder's output classes, at least that of the tokens.

    Raises:
        ModelError: the content cannot be read, or it is not Whisper's.
    """

    def __init__(self, content: bytes, vocab_size: int) -> None:
        from tokenizers import Tokenizer  # takes time, and few models need it

        try:
            self._tokenizer: Any = Tokenizer.from_str(content.decode())
        except Exception as error:  # tokenizers raises Exception itself
            raise ModelError(
                f"{DECODER_TOKENIZER_FILE}: cannot be read: {error}; copy the model again"
            ) from None
        self._content = content
        self.vocab_size = vocab_size
        self.end = self._symbol(_END)
        self.start = self._symbol(_START)
        self._task = tuple(self._symbol(name) for name in self.symbols(())[2:])

    def content(self) -> bytes:
        """Serialise the tokenizer."""
        return self._content

    def encode(self, text: str) -> list[int]:
        """Convert a text to ids; as Whisper writes it, a word in the beginning has a space."""
        text = " ".join(text.split())
        if text and not is_unspaced(text):
            text = f" {text}"
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Convert ids to text, without symbols, incomplete characters and outer spaces."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return " ".join(text.replace(_BROKEN, "").split())

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each token, with "▁" where a word begins.

        The text of a character that several tokens form is that of the last of them; the others
        have none.
        """
        found, open_ = list[str](), list[int]()
        for number, token in enumerate(ids, start=1):
            open_.append(token)
            text: str = self._tokenizer.decode(open_, skip_special_tokens=True)
            is_last = len(open_) == _LONGEST_CHARACTER or number == len(ids)
            if text.endswith(_BROKEN) and not is_last:
                found.append("")
                continue
            found.append(text.replace(_BROKEN, "").replace(" ", "▁"))
            open_ = []
        return found

    def prompt(self, language: str) -> tuple[int, ...]:
        """Return the tokens before a transcript without timestamps in a language (BCP 47).

        All prompts of a decoder have the same length.

        Raises:
            ModelError: the decoder does not know the language.
        """
        if not self.names_languages:
            return (self.start, *self._task)
        return (self.start, self.language_token(language), *self._task)

    @property
    def names_languages(self) -> bool:
        """False for the Whispers for English only, whose prompt has neither language nor task."""
        has_task = self._tokenizer.token_to_id(_TRANSCRIBE) is not None
        return has_task and self.vocab_size != ENGLISH_ONLY_SIZE

    def symbols(self, languages: Sequence[str]) -> tuple[str, ...]:
        """Return the symbols of the prompts for some languages (BCP 47), and the end."""
        if not self.names_languages:
            return (_END, _START, _NO_TIMES)
        named = dict.fromkeys(f"<|{language_code(one)}|>" for one in languages)
        return (_END, _START, *named, _TRANSCRIBE, _NO_TIMES)

    def language_token(self, language: str) -> int:
        """Return the symbol of a language (BCP 47), the first token that the decoder writes.

        Raises:
            ModelError: the decoder does not know the language.
        """
        token = self._tokenizer.token_to_id(f"<|{language_code(language)}|>")
        if token is None:
            raise ModelError(
                f"the pretrained decoder does not know the language '{language}'; set "
                "model.decoder.language to one that it knows"
            )
        return int(token)

    def knows(self, language: str) -> bool:
        """Return whether the decoder has a symbol for a language (BCP 47)."""
        try:
            self.prompt(language)
        except ModelError:
            return False
        return True

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Ids of all tokens, symbols included, by what `tokenizer.json` calls them."""
        found: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        return found

    @cached_property
    def suppressed(self) -> tuple[int, ...]:
        """Ids that are never part of a text: symbols but the end, timestamps, annotations."""
        names = self.vocabulary
        words: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=False)
        symbols = {token for name, token in names.items() if _is_symbol(name)}
        unused = set(range(self.vocab_size)) - set(names.values())
        added = set(names.values()) - set(words.values())
        return tuple(sorted((symbols | added | unused | self._annotations()) - {self.end}))

    def _annotations(self) -> set[int]:
        found: set[int] = set()
        for text in (*(f"{gap}{one}" for one in _SYMBOLS for gap in ("", " ")), *_BEGINNINGS):
            ids = self._tokenizer.encode(text, add_special_tokens=False).ids
            if len(ids) == 1:
                found.add(ids[0])
        for text in (f"{gap}{one}" for one in _NOTES for gap in ("", " ")):
            first = self._tokenizer.encode(text, add_special_tokens=False).ids[0]
            if len(self._tokenizer.id_to_token(first).lstrip(_SPACE)) > 1:
                found.add(first)  # else it begins other characters, too
        return found

    def _symbol(self, name: str) -> int:
        token = self._tokenizer.token_to_id(name)
        if token is None or token >= self.vocab_size:
            raise ModelError(
                f"{DECODER_TOKENIZER_FILE}: has no usable '{name}'; it is not the tokenizer of "
                "this Whisper, copy the model again"
            )
        return int(token)


def language_code(language: str) -> str:
    """Return Whisper's code of a language, given as a tag (BCP 47)."""
    code = language.split("-")[0].lower()
    return OTHER_CODES.get(code, code)


def _is_symbol(name: str) -> bool:
    return name.startswith("<|") and name.endswith("|>")
