"""The errors of a model on recordings in each of its decode modes, text by text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lhotse.cut import Cut

from keyframe_asr.audio.features import front_end
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.encoded_store import EncodedStore
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import text
from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.comparison import Comparison, compare
from keyframe_asr.evaluation.metrics import (
    UNIT_NAMES,
    confidence_interval,
    count_errors,
    split_units,
)
from keyframe_asr.evaluation.scoring import read_batches
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.text.forms import normaliser

WORST = 10


@dataclass(frozen=True)
class Recognised:
    """What a model recognised.

    Attributes:
        names: of the recordings.
        references: their texts, in the form of the model.
        texts: for each decode mode, what was recognised.
        default: the mode used if none is chosen.
        form: the form of all texts.
    """

    names: list[str]
    references: list[str]
    texts: dict[DecodeMode, list[str]]
    default: DecodeMode
    form: TextForm

    @property
    def unit(self) -> str:
        """Name of the error rate."""
        return UNIT_NAMES["characters" if self.form.unit == "characters" else self.form.unit]

    def error(self, mode: DecodeMode | None = None) -> float:
        """Error rate in a mode, the default one if None."""
        return count_errors(self._units(self.references), self._of(mode)).rate

    def interval(self, mode: DecodeMode | None = None) -> tuple[float, float]:
        """Its 95 % confidence interval."""
        return confidence_interval(self._units(self.references), self._of(mode))

    def compared(self, other: Recognised, mode: DecodeMode) -> Comparison:
        """The paired difference of another model's errors on the same recordings."""
        return compare(self.references, self.texts[mode], other.texts[mode], self.form)

    def worst(self, count: int = WORST) -> list[dict[str, str | int]]:
        """The recordings with the most errors in the default mode."""
        rows: list[tuple[int, str, str, str]] = []
        found = self.texts[self.default]
        for name, reference, hypothesis in zip(self.names, self.references, found, strict=True):
            (one,), (other,) = self._units([reference]), self._units([hypothesis])
            rows.append((count_errors([one], [other]).total, name, reference, hypothesis))
        rows.sort(key=lambda row: -row[0])
        return [
            {"name": name, "errors": errors, "reference": reference, "hypothesis": hypothesis}
            for errors, name, reference, hypothesis in rows[:count]
            if errors
        ]

    def _of(self, mode: DecodeMode | None) -> list[list[str]]:
        return self._units(self.texts[mode or self.default])

    def _units(self, texts: Sequence[str]) -> list[list[str]]:
        return [split_units(one, self.form) for one in texts]


def encoded_store(recognizer: Recognizer, folder: Path) -> EncodedStore | None:
    """Store of the outputs of a model's pretrained encoder; None if it has none."""
    network, config = recognizer.network, recognizer.config
    if network.pretrained is None:
        return None
    features = FeatureStore(front_end(config.features, config.model.pretrained))
    return EncodedStore(features, network.pretrained, folder)


def say(message: str) -> None:
    """Print a line of progress on standard error."""
    print(message, file=sys.stderr)


def recognise(
    recognizer: Recognizer,
    cuts: Sequence[Cut],
    name: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
    store: EncodedStore | None = None,
) -> Recognised:
    """Recognise recordings in every mode of a model, as it decodes by default.

    Args:
        recognizer: the model.
        cuts: the recordings.
        name: of their manifest, for errors.
        progress: called with (done, total) recordings.
        store: of the outputs of the model's pretrained encoder; None computes them.

    Raises:
        KeyframeError: a recording cannot be read.
    """
    form = recognizer.config.text_form
    normalise = normaliser(form)
    modes = recognizer.modes
    if store is not None:
        store.prepare(cuts, say)
    options = {mode: recognizer.prepare(mode) for mode in modes}
    names: list[str] = []
    references: list[str] = []
    texts: dict[DecodeMode, list[str]] = {mode: [] for mode in modes}
    failed: list[KeyframeError] = []
    for batch in read_batches(name, cuts, failed, progress):
        outputs = None if store is None else [store(one.cut) for one in batch]
        encoded = recognizer.encode([one.samples for one in batch], outputs)
        names += [one.cut.id for one in batch]
        references += [normalise(text(one.cut)) for one in batch]
        for mode in modes:
            found = recognizer.decode(encoded, options[mode])
            texts[mode] += [normalise(one.text) for one in found]
    if failed:
        raise failed[0]
    default = recognizer.prepare().decode or modes[0]
    return Recognised(names, references, texts, default, form)
