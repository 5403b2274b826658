"""Every error that a user of the project can cause, each one clear line: what, where, what to do.

The command line prints the message of a `KeyframeError` as one line and exits with 1. Anything
else that reaches it is a defect of the project and keeps its traceback.
"""

from __future__ import annotations


class KeyframeError(Exception):
    """A problem with what the user gave; its message says what is wrong, where, what to do."""


class AudioError(KeyframeError):
    """A recording that cannot be read or holds no usable audio."""


class ManifestError(KeyframeError):
    """A manifest or corpus that cannot be read, is incomplete, or holds bad entries."""


class TextError(KeyframeError):
    """A text that cannot be aligned with its recording: unknown symbols, or too long for it."""


class OptionError(KeyframeError):
    """An option that is out of its range, contradicts another, is unknown, or is lacking.

    Attributes:
        option: its name in Python.
        reason: what is the matter with it.
    """

    def __init__(self, option: str, reason: str) -> None:
        super().__init__(option, reason)
        self.option = option
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.option}: {self.reason}"


class RecipeError(KeyframeError):
    """A recipe with an unknown key, a wrong type, or values that contradict each other."""


class ModelError(KeyframeError):
    """A model folder that is missing, incomplete or does not fit what is asked of it."""


class TrainingError(KeyframeError):
    """A training that cannot start or go on, for instance because its loss is not finite."""


class LossInputError(KeyframeError, ValueError):
    """Log-probabilities, targets or lengths that a loss cannot be computed for."""
