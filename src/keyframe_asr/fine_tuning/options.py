"""Options of `fine_tune`; free of torch, so that the command line can import it quickly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from keyframe_asr.errors import OptionError

Vocabulary = Literal["keep", "extend", "new"]

NO_REPLAY, SYNTHETIC = "none", "synthetic"
"""Values of `replay` that are no manifest."""


@dataclass(frozen=True)
class FineTuneOptions:
    """How a model is fine-tuned. What is None follows from the hours of training data.

    Attributes:
        language: tag of the language of the texts; None is the model's.
        vocabulary: `keep` the model's text units, `extend` them by the letters that it lacks, or
            make `new` ones of the training texts.
        replay: other speech to mix in so that the model does not forget: a manifest, `synthetic`
            (sentences spoken by espeak-ng) or `none`.
        also_measure: manifest on which the error before and after is measured, too.
        epochs: passes over the training data, at most.
        learning_rate: peak learning rate.
        unfreeze_from_layer: train the pretrained encoder from this layer on; 0 is all of it.
        overrides: `key=value` for keys of the recipe.
        resume: go on with what was interrupted.
        standalone: write all weights, also those that equal the model's.
        keep_encodings: keep the stored outputs of the frozen encoder.

    Raises:
        OptionError: a value is none of the choices.
    """

    language: str | None = None
    vocabulary: Vocabulary = "keep"
    replay: str | None = None
    also_measure: str | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    unfreeze_from_layer: int | None = None
    overrides: list[str] | None = None
    resume: bool = False
    standalone: bool = False
    keep_encodings: bool = False

    def __post_init__(self) -> None:
        if self.vocabulary not in get_args(Vocabulary):
            choices = ", ".join(get_args(Vocabulary))
            raise OptionError("vocabulary", f"'{self.vocabulary}' is not one of {choices}")
