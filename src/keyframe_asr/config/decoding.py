"""How a model is best decoded, chosen on development data and stored with the model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from keyframe_asr.config.strict import Strict

StoredMode = Literal["axe", "ctc", "attention", "rescore", "joint"]
GreedyMode = Literal["axe", "ctc", "attention"]


class SearchConfig(Strict):
    """Search of one decode mode; fields as in `RecognitionOptions`."""

    beam: int | None = Field(default=None, ge=1, le=500)
    """Beam width; 1 in `axe`, `ctc` and `attention` is greedy. `null`: as narrow as possible."""
    language_model: bool = False
    """Use the language model of the model folder."""
    language_model_weight: float = Field(default=0.3, ge=0, le=1000)
    """Weight of its natural log-probabilities."""
    token_bonus: float = Field(default=0.0, ge=-1000, le=1000)
    """Score added per token."""
    ctc_weight: float = Field(default=0.6, ge=0, le=1)
    """Weight of CTC against the decoder in `joint`."""
    decoder_weight: float = Field(default=0.5, ge=0, le=1)
    """Weight of the decoder against the head in `rescore`."""

    @model_validator(mode="after")
    def _needs_a_beam(self) -> SearchConfig:
        if self.beam == 1 and (self.language_model or self.token_bonus):
            raise ValueError(
                "a language model and a token bonus have no effect with a beam of 1; set beam to 2 "
                "or more"
            )
        return self


class DecodingConfig(Strict):
    """The decode modes of a model, each with the search that was best on development data."""

    mode: StoredMode
    """Mode used if none is chosen."""
    greedy: GreedyMode
    """Mode used for greedy decoding."""
    searches: dict[StoredMode, SearchConfig] = Field(default_factory=dict)
    """Search of each mode; a mode that is missing is searched with the general defaults."""
    language_model: str | None = None
    """File of the language model in the model folder; `null`: none."""
    chosen_on: str | None = None
    """Data and error from which this was chosen, for people to read."""

    @model_validator(mode="after")
    def _check(self) -> DecodingConfig:
        for mode, search in self.searches.items():
            if search.language_model and self.language_model is None:
                raise ValueError(
                    f"searches.{mode} uses a language model, but none is named; set language_model"
                )
            if mode == "attention" and (search.language_model or search.token_bonus):
                raise ValueError(
                    "searches.attention has a language model or a token bonus, which attention "
                    "does not support; remove them"
                )
        return self
