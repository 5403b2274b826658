"""How a model is best decoded, chosen on development data and stored with the model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from keyframe_asr.config.strict import Strict

StoredMode = Literal["axe", "ctc", "attention", "rescore", "joint"]


class SearchConfig(Strict):
    """Search of one decode mode; fields as in `RecognitionOptions`."""

    beam: int = Field(default=1, ge=1, le=500)
    """Beam width; 1 in `axe` and `ctc` is greedy."""
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


class DecodingConfig(Strict):
    """The decode modes of a model, each with the search that was best on development data."""

    mode: StoredMode
    """Mode used if none is chosen."""
    greedy: Literal["axe", "ctc"]
    """Mode used for greedy decoding."""
    searches: dict[StoredMode, SearchConfig] = Field(default_factory=dict)
    """Search of each mode; a mode that is missing is searched with the general defaults."""
    language_model: str | None = None
    """File of the language model in the model folder; `null`: none."""
    chosen_on: str | None = None
    """Data and error from which this was chosen, for people to read."""
