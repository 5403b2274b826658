"""The search that recognition uses: given options, then the model's stored search, then defaults.

Free of torch, as the options are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keyframe_asr.config.decoding import SearchConfig
from keyframe_asr.config.model import ModelFolderConfig
from keyframe_asr.errors import OptionError
from keyframe_asr.inference.options import (
    FRAME_MODES,
    DecodeMode,
    RecognitionOptions,
    unsupported_by_attention,
)
from keyframe_asr.text.decoder_tokenizer import language_code

DEFAULT_BEAM = 10
"""Beam width of a search if none is given or stored."""


@dataclass(frozen=True)
class Search:
    """How a batch is decoded: `RecognitionOptions` with everything filled in.

    Attributes:
        mode: decode mode.
        beam: beam width; 1 in `axe`, `ctc` and `attention` is greedy.
        nbest: number of hypotheses, at most `beam`.
        language_model: its file, if any.
        language_model_weight: its weight.
        token_bonus: score added per token.
        hotwords: their file, or the phrases, if any.
        hotword_weight: score added per token of a hot word.
        ctc_weight: weight of CTC in `joint`.
        decoder_weight: weight of the decoder in `rescore`.
        length_normalised: compare scores per token in `attention`.
        language: what a pretrained decoder writes, one of the model's; None: what it hears.
    """

    mode: DecodeMode
    beam: int = 1
    nbest: int = 1
    language_model: Path | None = None
    language_model_weight: float = 0.0
    token_bonus: float = 0.0
    hotwords: Path | tuple[str, ...] | None = None
    hotword_weight: float = 1.0
    ctc_weight: float = SearchConfig().ctc_weight
    decoder_weight: float = SearchConfig().decoder_weight
    length_normalised: bool = False
    language: str | None = None

    @property
    def used(self) -> dict[str, object]:
        """The fields that matter to the mode, besides the mode and what the user alone can add."""
        if self.mode in FRAME_MODES and self.beam == 1:
            return {}
        found: dict[str, object] = {"beam": self.beam}
        if self.language_model is not None:
            found["language_model"] = self.language_model
            found["language_model_weight"] = self.language_model_weight
        if self.token_bonus:
            found["token_bonus"] = self.token_bonus
        if self.mode == "joint":
            found["ctc_weight"] = self.ctc_weight
        if self.mode == "rescore":
            found["decoder_weight"] = self.decoder_weight
        return found


def default_mode(config: ModelFolderConfig) -> DecodeMode:
    """Return the mode in which a model decodes if none is chosen."""
    return config.decoding.mode if config.decoding else greedy_mode(config)


def greedy_mode(config: ModelFolderConfig) -> DecodeMode:
    """Return the mode in which a model decodes greedily if none is chosen."""
    if config.decoding:
        return config.decoding.greedy
    return "axe" if config.keyframes else "ctc"


def stream_mode(config: ModelFolderConfig) -> DecodeMode:
    """Return the mode in which a model decodes while an utterance is spoken, if none is chosen.

    A model that streams chooses one token per frame or keyframe.
    """
    mode = greedy_mode(config)
    if config.model.encoder.streaming is None or mode in FRAME_MODES:
        return mode
    return "axe" if config.keyframes else "ctc"


def search_of(
    options: RecognitionOptions, config: ModelFolderConfig, own_language_model: Path | None
) -> Search:
    """Return the search of options with a model.

    Args:
        options: what is given wins; the rest is the search that the model stores for the mode, or
            the general default.
        config: of the model.
        own_language_model: file of the model's language model, if it has one.

    Raises:
        OptionError: the model's default mode does not support what is given, or the model does not
            know the language.
    """
    greedy = options.greedy or options.simulate_streaming
    mode = options.decode or (greedy_mode(config) if greedy else default_mode(config))
    if options.simulate_streaming and options.decode is None:
        mode = stream_mode(config)
    if mode == "attention" and options.fused:
        raise unsupported_by_attention(options.fused[0])
    stored = config.decoding.searches.get(mode) if config.decoding else None
    if stored is None or greedy:
        stored = SearchConfig()
    language_model = options.language_model
    bonus = stored.token_bonus
    if options.beam == 1 or options.no_language_model:
        bonus = 0.0
    elif language_model is None and stored.language_model:
        language_model = own_language_model
    if options.token_bonus is not None:
        bonus = options.token_bonus
    needs_search = bool(language_model or options.hotwords or bonus or options.nbest > 1)
    return Search(
        mode=mode,
        beam=1 if greedy else options.beam or _beam(mode, stored, needs_search, options.nbest),
        nbest=options.nbest,
        language_model=language_model,
        language_model_weight=_given(options.language_model_weight, stored.language_model_weight),
        token_bonus=bonus,
        hotwords=options.hotwords,
        hotword_weight=options.hotword_weight,
        ctc_weight=_given(options.ctc_weight, stored.ctc_weight),
        decoder_weight=_given(options.decoder_weight, stored.decoder_weight),
        length_normalised=options.length_normalised,
        language=_known_language(options.language, config),
    )


def _known_language(given: str | None, config: ModelFolderConfig) -> str | None:
    """Return the model's tag of a given language: that of another region stands for it."""
    if given is None:
        return None
    known = [one for tag in config.languages for one in tag.split("+")]
    same = [one for one in known if language_code(one) == language_code(given)]
    if not same:
        raise OptionError(
            "language",
            f"'{given}' is not a language of model '{config.name}'; use {' or '.join(known)}, or "
            "leave it out",
        )
    return given if given in same else same[0]


def _beam(mode: DecodeMode, stored: SearchConfig, needs_search: bool, nbest: int) -> int:
    """Return the beam width if none is given."""
    usual = 1 if mode in FRAME_MODES else DEFAULT_BEAM
    # a first pass whose language model is left out finds no more with a beam
    only_for_it = stored.language_model and not needs_search and mode in FRAME_MODES
    beam = usual if only_for_it else stored.beam or usual
    return max(DEFAULT_BEAM if beam == 1 and needs_search else beam, nbest)


def _given(option: float | None, stored: float) -> float:
    return stored if option is None else option
