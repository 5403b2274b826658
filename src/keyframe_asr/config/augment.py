"""The `augment` section of a recipe: augmentation of training data."""

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
"""[low, high]: values are drawn uniformly from this range."""

Decibels = Annotated[float, Field(ge=-100, le=100)]
Probability = Annotated[float, Field(ge=0, le=1)]


class NoiseConfig(Strict):
    """Noise added to utterances: excerpts of the recordings in a folder."""

    folder: str
    """Folder of noise recordings, searched recursively; relative to the recipe's folder."""
    probability: Probability = 0.5
    """Fraction of utterances with added noise."""
    snr_db: Range[Decibels] = (5.0, 20.0)
    """Ratio of the mean power of the whole utterance, including pauses, to that of the noise."""


class ReverberationConfig(Strict):
    """Reverberation by simulated or recorded room impulse responses, or both."""

    probability: Probability = 0.3
    """Fraction of utterances that are reverberated."""
    rooms: int = Field(default=50, ge=0, le=1000)
    """Number of rooms simulated at the start of a run; 0: only recorded rooms."""
    decay_seconds: Range[Annotated[float, Field(ge=0.05, le=1.0)]] = (0.1, 0.5)
    """Reverberation time (RT60) of the simulated rooms."""
    folder: str | None = None
    """Recorded impulse responses, one per file (the first channel is used), searched recursively;
    relative to the recipe's folder. Rooms are drawn from all simulated and recorded rooms."""

    @model_validator(mode="after")
    def _has_rooms(self) -> Self:
        if not self.rooms and self.folder is None:
            raise ValueError("rooms is 0 and folder is null; set at least one of them")
        return self


class TelephoneConfig(Strict):
    """Utterances as over a telephone line: 8 kHz, 300 Hz to 3.4 kHz."""

    probability: Probability = 0.2
    """Fraction of utterances that are changed."""


class VolumeConfig(Strict):
    """Random changes of volume."""

    probability: Probability = 0.5
    """Fraction of utterances that are changed."""
    gain_db: Range[Decibels] = (-12.0, 6.0)
    """Gain."""


class NonSpeechConfig(Strict):
    """Training examples of noise with empty text, against hallucinated words."""

    folder: str
    """Folder of noise recordings, searched recursively; relative to the recipe's folder."""
    share: float = Field(default=0.05, gt=0, le=0.5)
    """Number of examples as a fraction of the utterances of an epoch."""
    seconds: Range[Annotated[float, Field(ge=0.1, le=60)]] = (1.0, 8.0)
    """Duration of an example."""


class AugmentConfig(Strict):
    """Augmentation of training batches; never applied in evaluation."""

    speeds: list[Annotated[float, Field(ge=0.1, le=10)]] = Field(
        default_factory=lambda: [0.9, 1.0, 1.1], min_length=1
    )
    """Speed factors; each epoch draws one for each utterance. 1.0 leaves it unchanged."""
    reverberation: ReverberationConfig | None = None
    """Reverberation; `null`: none."""
    noise: NoiseConfig | None = None
    """Added noise; `null`: none."""
    telephone: TelephoneConfig | None = None
    """Telephone speech; `null`: none."""
    volume: VolumeConfig | None = None
    """Changes of volume; `null`: none. Applied last: reverberation, noise, telephone, volume."""
    non_speech: NonSpeechConfig | None = None
    """Noise as training examples with empty text; `null`: none."""
    spec_augment: Probability = 0.9
    """Fraction of utterances with SpecAugment (arXiv 1904.08779)."""
    time_warp_frames: int = Field(default=0, ge=0)
    """Maximum shift of SpecAugment's time warping; 0: none."""
    time_masks: int = Field(default=2, ge=1)
    """Number of time masks."""
    time_mask_frames: int = Field(default=50, ge=1)
    """Maximum width of a time mask, in 10 ms frames."""
    time_mask_share: float = Field(default=0.2, gt=0, le=1)
    """Maximum fraction of an utterance covered by time masks."""
    frequency_masks: int = Field(default=2, ge=0)
    """Number of frequency masks."""
    frequency_mask_bins: int = Field(default=10, ge=1)
    """Maximum width of a frequency mask, in features."""
