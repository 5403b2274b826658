"""Language model and hot words read from files, made ready for one recogniser's searches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from keyframe_asr.decoding.hotwords import HotwordScorer
from keyframe_asr.decoding.lm.arpa import read_arpa
from keyframe_asr.decoding.lm.scoring import language_model_scorer
from keyframe_asr.decoding.lm.spelling import writes_spaces
from keyframe_asr.decoding.scorers import Scorer, ShallowFusion
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.text.forms import NORMALISATIONS

LANGUAGE_MODEL_WEIGHT = 0.3
HOTWORD_WEIGHT = 1.0


@dataclass(frozen=True)
class FusionFiles:
    """What to add to the scores of a search.

    Attributes:
        language_model: an ARPA file of words, characters or the recogniser's tokens.
        language_model_weight: of its natural log-probabilities, at least 0.
        hotwords: a file with a word or phrase a line and, after a tab, a weight if it has its own.
        hotword_weight: bonus for each token of a hot word (natural log).
        token_bonus: for every token, which makes up for what a language model costs.
    """

    language_model: Path | None = None
    language_model_weight: float = LANGUAGE_MODEL_WEIGHT
    hotwords: Path | None = None
    hotword_weight: float = HOTWORD_WEIGHT
    token_bonus: float = 0.0


def load_fusion(recognizer: Recognizer, files: FusionFiles) -> ShallowFusion:
    """Read the files for a recogniser.

    Raises:
        ModelError: the language model cannot be read or does not fit the recogniser.
        KeyframeError: the hot words cannot be read or cannot be written with the recogniser's
            tokens; the line is named.
    """
    scorers: list[Scorer] = []
    tokenizer, device = recognizer.tokenizer, recognizer.device
    spaced = recognizer.config.language == "english" and writes_spaces(tokenizer)
    if files.language_model is not None:
        model = read_arpa(files.language_model)
        weight = files.language_model_weight
        scorers.append(language_model_scorer(model, tokenizer, spaced, weight, device))
    if files.hotwords is not None:
        phrases = read_hotwords(files.hotwords, recognizer, files.hotword_weight)
        scorers.append(HotwordScorer(phrases, tokenizer, spaced, device))
    return ShallowFusion(tuple(scorers), files.token_bonus)


def read_hotwords(path: Path, recognizer: Recognizer, weight: float) -> dict[str, float]:
    """Phrases in the recogniser's normal form with their bonus per token; "#" begins a comment."""
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise KeyframeError(
            f"{path}: cannot be read: {reason}; give a text file with a word or phrase a line"
        ) from None
    phrases: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        text, _, own = line.partition("\t")
        place = f"{path}:{number}"
        phrase = _phrase(place, text, recognizer)
        phrases[phrase] = _weight(place, own.strip()) if own.strip() else weight
    if not phrases:
        raise KeyframeError(f"{path}: holds no words; give a word or phrase a line")
    return phrases


def _phrase(place: str, text: str, recognizer: Recognizer) -> str:
    """The text as the recogniser would write it. Raises `KeyframeError` if it cannot write it."""
    normalise = NORMALISATIONS[recognizer.config.normalisation]
    phrase = normalise(text)
    lost = normalise.lost(text) or "".join(recognizer.tokenizer.unknown(phrase))
    if not phrase or lost:
        raise KeyframeError(
            f"{place}: '{text.strip()}' can never be recognised: model "
            f"'{recognizer.config.name}' has no symbol for '{lost or text.strip()}'; spell it "
            "with those it has or remove the line"
        )
    return phrase


def _weight(place: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight < math.inf:
        raise KeyframeError(f"{place}: '{text}' is no weight; give a number above 0 after the tab")
    return weight
