"""Language models and hot words, mostly from files, as scorers for the searches of one model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.decoding.hotwords import HotwordScorer
from keyframe_asr.decoding.lm.packed import read_language_model
from keyframe_asr.decoding.lm.scoring import language_model_scorer
from keyframe_asr.decoding.scorers import Scorer, ShallowFusion, Weighted
from keyframe_asr.errors import KeyframeError, OptionError
from keyframe_asr.inference.options import LARGEST_WEIGHT
from keyframe_asr.inference.search import Search
from keyframe_asr.io.text_file import read_lines
from keyframe_asr.text.forms import normaliser, words_of_form
from keyframe_asr.text.tokenizer import MixedTokenizer, Tokenizer
from keyframe_asr.text.trie import writes_spaces

_Source: TypeAlias = Path | tuple[str, ...]
"""A file, or for hot words its lines."""

FILES_KEPT = 8
"""Number of language models and hot word lists kept in memory."""


class ScorerFiles:
    """The scorers of one model; a file is read again only if it has changed."""

    def __init__(self, config: ModelFolderConfig, tokenizer: Tokenizer) -> None:
        self._config, self._tokenizer = config, tokenizer
        self._spaced = separates_words(config.text_form, tokenizer)
        self._kept: dict[tuple[str, _Source, float], tuple[tuple[int, int], Scorer]] = {}

    def fusion(self, search: Search, *, refresh: bool = False) -> ShallowFusion:
        """Return what adds to the scores of a search.

        Args:
            search: names the files.
            refresh: read files again that have changed since they were read.

        Raises:
            ModelError: the language model cannot be read or does not fit the model.
            KeyframeError: the hot words cannot be read, or one cannot be written with the model's
                tokens.
        """
        scorers: list[Scorer] = []
        if search.language_model is not None:
            read = self._read_language_model
            scorer = self._scorer(read, search.language_model, 1.0, refresh)
            scorers.append(Weighted(scorer, search.language_model_weight))
        if search.hotwords is not None:
            weight = search.hotword_weight
            scorers.append(self._scorer(self._read_hotwords, search.hotwords, weight, refresh))
        return ShallowFusion(tuple(scorers), search.token_bonus)

    def _scorer(
        self, read: Callable[[Any, float], Scorer], source: _Source, weight: float, refresh: bool
    ) -> Scorer:
        key = (read.__name__, source.absolute() if isinstance(source, Path) else source, weight)
        kept = self._kept.pop(key, None)
        if kept is None or (refresh and kept[0] != _stamp(source)):
            kept = _stamp(source), read(source, weight)
        self._kept[key] = kept  # last, so that the first is the least recently used
        while len(self._kept) > FILES_KEPT:
            del self._kept[next(iter(self._kept))]
        return kept[1]

    def _read_language_model(self, path: Path, weight: float) -> Scorer:
        model = read_language_model(path)
        return language_model_scorer(model, self._tokenizer, self._spaced, weight)

    def _read_hotwords(self, source: _Source, weight: float) -> Scorer:
        phrases = read_hotwords(source, self._config, self._tokenizer, weight)
        return HotwordScorer(phrases, self._tokenizer, self._spaced)


def separates_words(form: TextForm, tokenizer: Tokenizer) -> bool:
    """True if the tokens tell where the words of a text begin."""
    if isinstance(tokenizer, MixedTokenizer):
        return form.separation == "mixed"
    return form.separation == "spaces" and writes_spaces(tokenizer)


def _stamp(source: _Source) -> tuple[int, int]:
    """Return size and modification time of a file, to detect changes."""
    if not isinstance(source, Path):
        return (0, 0)
    try:
        status = source.stat()
    except (OSError, ValueError):  # reading it reports the reason
        return (-1, -1)
    return (status.st_size, status.st_mtime_ns)


def read_hotwords(
    source: _Source, config: ModelFolderConfig, tokenizer: Tokenizer, weight: float
) -> dict[str, float]:
    """Read phrases in the model's normal form with their weights.

    Args:
        source: a file, in which "#" begins a comment; or its lines.
        config: of the model.
        tokenizer: of the model.
        weight: of phrases without one.

    Raises:
        OptionError: a phrase of `source` cannot be written with the model's tokens, or has a wrong
            weight; for a line of a file, a `KeyframeError`.
        KeyframeError: the file cannot be read, or has no phrases.
    """
    phrases: dict[str, float] = {}
    for place, line in _lines(source):
        text, _, own = line.partition("\t")
        try:
            phrase = _phrase(text, config, tokenizer)
            phrases[phrase] = _weight(text, own.strip()) if own.strip() else weight
        except ValueError as error:
            raise _error(place, str(error)) from None
    if not phrases:
        raise KeyframeError(f"{source}: has no hot words; give one word or phrase per line")
    return phrases


def usable_hotwords(
    phrases: Sequence[str], config: ModelFolderConfig, tokenizer: Tokenizer
) -> tuple[str, ...]:
    """Return those of some phrases that can be written with a model's tokens."""

    def is_usable(phrase: str) -> bool:
        try:
            return bool(_phrase(phrase, config, tokenizer))
        except ValueError:
            return False

    return tuple(filter(is_usable, phrases))


def _lines(source: _Source) -> Iterable[tuple[str | None, str]]:
    """Yield lines with phrases, and their places in a file."""
    if not isinstance(source, Path):
        yield from ((None, line) for line in source)
        return
    lines = read_lines(source, "give a text file with one word or phrase per line")
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            yield f"{source}:{number}", line


def _error(place: str | None, reason: str) -> KeyframeError:
    if place is None:
        return OptionError("hotwords", reason)
    return KeyframeError(f"{place}: {reason}")


def _phrase(text: str, config: ModelFolderConfig, tokenizer: Tokenizer) -> str:
    """Normalise a phrase. Raises `ValueError` if the model has no tokens for it."""
    normalise = normaliser(config.text_form)
    phrase = normalise(text)
    lost = normalise.lost(text) or "".join(tokenizer.unknown(phrase))
    if separates_words(config.text_form, tokenizer):
        phrase = " ".join(words_of_form(phrase, config.text_form))
    if not phrase or lost:
        raise ValueError(
            f"'{text.strip()}' cannot be recognised: model '{config.name}' has no symbol "
            f"for '{lost or text.strip()}'; use other symbols, or leave it out"
        )
    return phrase


def _weight(phrase: str, text: str) -> float:
    """Return the weight of a phrase. Raises `ValueError` if it is none."""
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight <= LARGEST_WEIGHT:
        raise ValueError(
            f"weight '{text}' of '{phrase.strip()}' is none; give a number above 0 and at most "
            f"{LARGEST_WEIGHT:g} after the tab"
        )
    return weight
