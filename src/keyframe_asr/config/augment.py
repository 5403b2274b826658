"""The section `augment` of a recipe: every random change of training data, none of evaluation's."""

from __future__ import annotations

from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from keyframe_asr.config.strict import Strict

NumberT = TypeVar("NumberT", bound=float)


def _from_list(pair: Any) -> Any:
    return tuple(pair) if isinstance(pair, list) else pair


def _in_order(pair: tuple[NumberT, NumberT]) -> tuple[NumberT, NumberT]:
    if pair[0] > pair[1]:
        raise ValueError(f"expected [low, high], found [{pair[0]:g}, {pair[1]:g}]; swap them")
    return pair


Range = Annotated[tuple[NumberT, NumberT], BeforeValidator(_from_list), AfterValidator(_in_order)]
"""[low, high]: values are drawn uniformly between the two."""

Decibels = Annotated[float, Field(ge=-100, le=100)]
Probability = Annotated[float, Field(ge=0, le=1)]


class NoiseConfig(Strict):
    """Noise added to utterances: excerpts of the recordings in a folder."""

    folder: str
    """Searched with its sub-folders; relative to the recipe's working folder."""
    probability: Probability = 0.5
    """Share of utterances that get noise."""
    snr_db: Range[Decibels] = (5.0, 20.0)
    """Mean power of the whole utterance, pauses included, over that of the noise added to it."""


class ReverberationConfig(Strict):
    """Utterances as heard in rooms: simulated ones, recorded ones, or both."""

    probability: Probability = 0.3
    """Share of utterances that are reverberated."""
    rooms: int = Field(default=50, ge=0, le=1000)
    """How many are simulated at the start of a run; 0 for recorded ones only."""
    decay_seconds: Range[Annotated[float, Field(ge=0.05, le=1.0)]] = (0.1, 0.5)
    """Time in which the sound in a simulated room decays by 60 dB."""
    folder: str | None = None
    """Recorded impulse responses, one a file (of several channels the first); searched with its
    sub-folders, relative to the recipe's working folder. Every use draws one room of all, simulated
    and recorded."""

    @model_validator(mode="after")
    def _has_rooms(self) -> Self:
        if not self.rooms and self.folder is None:
            raise ValueError("rooms is 0 and there is no folder of recorded ones; give either")
        return self


class VolumeConfig(Strict):
    """Utterances made louder or softer."""

    probability: Probability = 0.5
    """Share of utterances that are changed."""
    gain_db: Range[Decibels] = (-12.0, 6.0)
    """Change of the level."""


class NonSpeechConfig(Strict):
    """Training examples of noise alone, with empty text, so that noise is no word."""

    folder: str
    """Searched with its sub-folders; relative to the recipe's working folder."""
    share: float = Field(default=0.05, gt=0, le=0.5)
    """Of the utterances of an epoch."""
    seconds: Range[Annotated[float, Field(ge=0.1, le=60)]] = (1.0, 8.0)
    """Length of an example."""


class AugmentConfig(Strict):
    """Augmentation of training batches; never applied in evaluation."""

    speeds: list[Annotated[float, Field(gt=0)]] = Field(
        default_factory=lambda: [0.9, 1.0, 1.1], min_length=1
    )
    """Speeds of which each utterance gets one an epoch; 1.0 leaves it as it is."""
    reverberation: ReverberationConfig | None = None
    """Simulated or recorded rooms; `null`: none."""
    noise: NoiseConfig | None = None
    """Added noise; `null`: none."""
    volume: VolumeConfig | None = None
    """These three in this order: noise is as loud as asked beside the reverberant utterance."""
    non_speech: NonSpeechConfig | None = None
    """Noise as training examples with empty text; `null`: none."""
    spec_augment: Probability = 0.9
    """Share of utterances that SpecAugment (arXiv 1904.08779) is applied to."""
    time_warp_frames: int = Field(default=0, ge=0)
    """Largest shift of SpecAugment's time warping; 0: none."""
    time_masks: int = Field(default=2, ge=1)
    """Masks over time."""
    time_mask_frames: int = Field(default=50, ge=1)
    """Longest mask over time, in 10 ms frames."""
    time_mask_share: float = Field(default=0.2, gt=0, le=1)
    """At most this share of an utterance is covered by time masks."""
    frequency_masks: int = Field(default=2, ge=0)
    """Masks over frequency."""
    frequency_mask_bins: int = Field(default=10, ge=1)
    """Widest mask over frequency, in features."""
