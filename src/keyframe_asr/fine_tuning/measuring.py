"""The errors of a model on recordings in each of its decode modes, text by text."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lhotse.cut import Cut

from keyframe_asr.audio.features import front_end
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.data.encoded_store import EncodedStore
from keyframe_asr.data.feature_store import FeatureStore
from keyframe_asr.data.manifest import text
from keyframe_asr.decoding.confidence import right_units
from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.comparison import Comparison, compare
from keyframe_asr.evaluation.metrics import (
    UNIT_NAMES,
    confidence_interval,
    count_errors,
    split_units,
)
from keyframe_asr.evaluation.scoring import ReadCut, read_batches
from keyframe_asr.evaluation.speech_check_fit import RecognisedRecording
from keyframe_asr.inference.batch_recognizer import EncodedAudio
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.speech_check import (
    SpeechRegion,
    keep_speech,
    non_speech_frames,
    speech_regions,
)
from keyframe_asr.inference.torch_network import arrays, module_of
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


def say(message: str) -> None:
    """Print a line of progress on standard error."""
    print(message, file=sys.stderr)


def measured_modes(recognizer: Recognizer) -> tuple[DecodeMode, ...]:
    """The modes of a model; of the two in which a pretrained decoder, which is slow, writes, the
    one that CTC corrects, and the default."""
    if recognizer.pretrained is None:
        return recognizer.modes
    default = recognizer.default_mode
    return tuple(one for one in recognizer.modes if one != "attention" or one == default)


class Measurement:
    """Recognises recordings with one model; the outputs of a pretrained encoder are stored.

    Args:
        recognizer: the model; its speech check is taken off, and applied to the texts.
        encodings: folder for the outputs.
        form: form of the texts that are compared; None is the model's.

    Attributes:
        confidences: of each decode mode, with True for each token that is right. Their scaling is
            left out.
        speech: what the default mode recognised, without the speech check.
    """

    def __init__(
        self, recognizer: Recognizer, encodings: Path, form: TextForm | None = None
    ) -> None:
        self.recognizer = recognizer
        # with it, nothing would be recognised in what it rejects, right or wrong
        self._check, recognizer.speech_check = recognizer.speech_check, None
        self._form = form or recognizer.config.text_form
        self.confidences: dict[DecodeMode, list[tuple[float, bool]]] = {}
        self.speech: list[RecognisedRecording] = []
        self._store: EncodedStore | None = None
        config, pretrained = recognizer.config, module_of(recognizer.network).pretrained
        if pretrained is not None:
            features = FeatureStore(front_end(config.features, config.model.pretrained), keep=False)
            self._store = EncodedStore(features, pretrained, encodings)

    def encode(self, batch: Sequence[ReadCut]) -> EncodedAudio:
        """Run the encoders on a batch."""
        outputs = None
        if self._store is not None:
            outputs = [arrays(self._store(one.cut)) for one in batch]
        return self.recognizer.encode([one.samples for one in batch], outputs)

    @torch.inference_mode()
    def recognise(
        self,
        cuts: Sequence[Cut],
        name: str,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Recognised:
        """Recognise recordings in the modes of the model, as it decodes by default.

        Args:
            cuts: the recordings.
            name: of their manifest, for errors.
            progress: called with (done, total) recordings.

        Raises:
            KeyframeError: a recording cannot be read.
        """
        if self._store is not None:
            self._store.prepare(cuts, say)
        recognizer = self.recognizer
        form, modes = self._form, measured_modes(recognizer)
        found = Recognised([], [], {mode: [] for mode in modes}, recognizer.default_mode, form)
        for mode in modes:
            recognizer.prepare(mode)
        failed: list[KeyframeError] = []
        for batch in read_batches(name, cuts, failed, progress):
            encoded = self.encode(batch)
            references = [normaliser(form)(text(one.cut)) for one in batch]
            found.names.extend(one.cut.id for one in batch)
            found.references.extend(references)
            regions = speech_regions(recognizer.network, encoded.encoded)
            for mode in modes:
                found.texts[mode].extend(self._decoded(encoded, mode, references, regions))
        if failed:
            raise failed[0]
        return found

    def _decoded(
        self,
        encoded: EncodedAudio,
        mode: DecodeMode,
        references: Sequence[str],
        regions: Sequence[Sequence[SpeechRegion]],
    ) -> list[str]:
        """Texts of a batch in a mode, in the form of the model."""
        recognizer = self.recognizer
        normalise = normaliser(self._form)
        decoded = list(zip(*recognizer.hypotheses(encoded, mode), strict=True))
        targets = [
            recognizer.target_of(reference, hypothesis)
            for reference, (hypothesis, _) in zip(references, decoded, strict=True)
        ]
        rows = self.confidences.setdefault(mode, [])
        for (hypothesis, _), target in zip(decoded, targets, strict=True):
            right = right_units(target, hypothesis.tokens)
            rows += zip(hypothesis.confidences, right, strict=True)
        if mode == recognizer.default_mode:
            self.speech += [
                RecognisedRecording(
                    half=0,
                    seconds=encoded.seconds[row],
                    regions=regions[row],
                    tokens=hypothesis.tokens,
                    frames=tuple(frames[position] for position in hypothesis.positions),
                    target=targets[row],
                )
                for row, (hypothesis, frames) in enumerate(decoded)
                if len(hypothesis.positions) == len(hypothesis.tokens)
            ]
        check = self._check
        kept = [
            keep_speech(hypothesis, frames, non_speech_frames(regions[row], check) if check else ())
            for row, (hypothesis, frames) in enumerate(decoded)
        ]
        return [normalise(recognizer.text_of(one)) for one in kept]
