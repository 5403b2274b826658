"""Exceptions for errors that users can cause.

A message is one line: what is wrong, where, and what to do. The command line prints the message of
a `KeyframeError` and exits with 1. Any other exception is a bug and keeps its traceback. Warnings
are one line, too, and change no exit code.
"""

from __future__ import annotations


class KeyframeError(Exception):
    """A problem with the user's input: what is wrong, where, and what to do."""


class AudioError(KeyframeError):
    """A recording that cannot be read or contains no usable audio."""


class FormatError(AudioError):
    """A recording in a format that is not read, or that needs a package which is not installed."""


class ManifestError(KeyframeError):
    """A manifest or corpus that cannot be read, is incomplete, or contains invalid entries."""


class TextError(KeyframeError):
    """A text that cannot be aligned with its recording: unknown symbols or too many tokens."""


class OptionError(KeyframeError):
    """An option that is out of range, contradicts another, is unknown, or is missing.

    Attributes:
        option: its name in Python.
        reason: what is wrong with it.
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
    """A model folder that is missing, incomplete, or does not support the request."""


class PackageError(KeyframeError, ImportError):
    """An optional package that is not installed; the message names the extra that installs it."""


class TrainingError(KeyframeError):
    """A training run that cannot start or continue, for instance because its loss is not finite."""


class LossInputError(KeyframeError, ValueError):
    """Log-probabilities, targets or lengths for which a loss cannot be computed."""


class KeyframeWarning(UserWarning):
    """Base class of the warnings of this package; the command line prints each as one line."""


class UnfinishedWarning(KeyframeWarning):
    """A recording of a stream may have been cut off, because the mark of its end is missing."""


class NarrowBandWarning(KeyframeWarning):
    """A recording holds a much smaller band of frequencies than the model was trained on."""


class OtherLanguageWarning(KeyframeWarning):
    """Reference texts whose letters a model cannot write."""
