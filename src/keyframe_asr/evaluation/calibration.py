"""Calibration of a model on held-out speech: confidences, speech check and emission delay.

Confidences and speech check are fitted twice: for the report by two-fold cross-validation over
speakers and kinds of non-speech, and for the model on all data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keyframe_asr.audio.synthetic_noise import NonSpeech
from keyframe_asr.config.calibration import ConfidenceConfig, Confidences, SpeechCheckConfig
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.decoding.confidence import fit_scaling, right_units, scaled
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.timestamps import words
from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.reliability import ScoredConfidences, reliability
from keyframe_asr.evaluation.report import machine
from keyframe_asr.evaluation.scoring import ReadCut, read_batches
from keyframe_asr.evaluation.speech_check_fit import (
    RecognisedRecording,
    errors_with,
    fit_speech_check,
)
from keyframe_asr.evaluation.times import EmissionDelays
from keyframe_asr.inference.batch_recognizer import EncodedAudio
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.speech_check import speech_regions
from keyframe_asr.results import Token, Word
from keyframe_asr.text.forms import normaliser, words_of_form
from keyframe_asr.text.tokenizer import SentencePieceTokenizer

TOLERANCE = 0.002
"""Default of the additional token errors per reference token that the speech check may cause."""

REPORTED_TOLERANCES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05)
"""Further tolerances whose effect is reported."""


@dataclass
class _Confidences:
    """Confidences of the tokens or words of one decode mode, in order of recognition."""

    values: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    half: list[int] = field(default_factory=list)

    def add(self, values: Sequence[float], right: Sequence[bool], half: int) -> None:
        self.values += values
        self.right += right
        self.half += [half] * len(right)

    def scored(self, of_halves: Sequence[ConfidenceConfig] | None = None) -> ScoredConfidences:
        """Confidences without scaling, or with the scaling given for each half."""
        values, half = np.array(self.values), np.array(self.half, dtype=np.int64)
        if of_halves is not None:
            values = np.choose(half, [scaled(values, scaling) for scaling in of_halves])
        return ScoredConfidences(values, np.array(self.right, dtype=np.bool_))

    def fit(self, half: int | None = None) -> ConfidenceConfig:
        """Fit the scaling on one half, or on all."""
        found = self.scored()
        chosen = np.array([half in (None, number) for number in self.half], dtype=np.bool_)
        return fit_scaling(found.confidences[chosen], found.right[chosen])


@dataclass(frozen=True)
class Calibration:
    """Result of a calibration.

    Attributes:
        confidences: scaling by decode mode.
        speech_check: None if there were no sounds, or no text was recognised in them.
        report: the content of `keyframe calibrate --json`.
        panels: confidences before and after, by title, for the plot.
    """

    confidences: Confidences
    speech_check: SpeechCheckConfig | None
    report: dict[str, Any]
    panels: dict[str, tuple[ScoredConfidences, ScoredConfidences]]


class Calibrator:
    """Collects results on speech and on non-speech, then fits the calibration.

    Args:
        recognizer: the model; its present calibration is removed.
        modes: decode modes to calibrate; the speech check is fitted to the first.
    """

    def __init__(self, recognizer: Recognizer, modes: Sequence[DecodeMode]) -> None:
        recognizer.speech_check, recognizer.confidences = None, {}
        self.recognizer = recognizer
        self.modes = modes
        self.failed: list[KeyframeError] = []
        self._speech: list[RecognisedRecording] = []
        self._sounds: list[RecognisedRecording] = []
        self._delays = EmissionDelays()
        self._seconds = recognizer.network.frame_seconds
        self._tokens: dict[DecodeMode, _Confidences] = {mode: _Confidences() for mode in modes}
        self._words: dict[DecodeMode, _Confidences] = {mode: _Confidences() for mode in modes}

    def add_speech(
        self, manifest: str, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        """Recognise a manifest. Raises `ManifestError` if no recording can be read."""
        cuts = list(load_manifest(manifest))
        names = [str(cut.supervisions[0].speaker) for cut in cuts]
        speakers = sorted(set(names))
        for batch in read_batches(manifest, cuts, self.failed, progress):
            # a single speaker is split by recordings
            halves = [
                (speakers.index(names[cut.place]) if len(speakers) > 1 else cut.place) % 2
                for cut in batch
            ]
            self._add_batch(batch, halves)

    def add_non_speech(self, sounds: Sequence[NonSpeech]) -> None:
        """Recognise non-speech sounds."""
        kinds = sorted({sound.kind for sound in sounds})
        for place, sound in enumerate(sounds):
            half = (kinds.index(sound.kind) if len(kinds) > 1 else place) % 2
            encoded = self.recognizer.encode([sound.samples])
            found = self._decoded(encoded, self.modes[0])
            self._sounds += self._recognised(encoded, found, [()], [half])

    @property
    def emission_delay_seconds(self) -> float | None:
        """Median delay from onsets of sound to CTC spikes; None if there are too few onsets."""
        return self._delays.median

    def fit(self, tolerance: float = TOLERANCE) -> Calibration:
        """Fit scalings and speech check; `tolerance` as in `fit_speech_check`."""
        confidences: Confidences = {}
        panels: dict[str, tuple[ScoredConfidences, ScoredConfidences]] = {}
        decoded: dict[str, Any] = {}
        for mode in self.modes:
            tokens, of_words = self._tokens[mode], self._words[mode]
            confidences[mode] = tokens.fit()
            crossed = tokens.fit(1), tokens.fit(0)
            decoded[mode] = confidences[mode].model_dump()
            decoded[mode]["of_halves"] = [scaling.model_dump() for scaling in crossed]
            rows = {"tokens": tokens} | ({"words": of_words} if of_words.values else {})
            for name, row in rows.items():
                pair = row.scored(), row.scored(crossed)
                panels[f"{mode}, {name}"] = pair
                decoded[mode][name] = _calibration_report(*pair)
        check = fit_speech_check(self._speech, self._sounds, tolerance) if self._sounds else None
        report = {
            "model": self.recognizer.config.name,
            "utterances": len(self._speech),
            "audio_seconds": round(sum(recording.seconds for recording in self._speech), 3),
            "machine": machine(self.recognizer.device_name),
            "decode": decoded,
            "speech_check": self._check_report(check, tolerance) if check else None,
            "onsets": self._delays.report(),
        }
        return Calibration(confidences, check, report, panels)

    def _add_batch(self, batch: Sequence[ReadCut], halves: Sequence[int]) -> None:
        normalise = normaliser(self.recognizer.config.text_form)
        texts = [normalise(text(cut.cut)) for cut in batch]
        encoded = self.recognizer.encode([cut.samples for cut in batch])
        for mode in self.modes:
            found = self._decoded(encoded, mode)
            targets = [
                self.recognizer.target_of(reference, hypothesis)
                for reference, (hypothesis, _) in zip(texts, found, strict=True)
            ]
            for row, (hypothesis, _) in enumerate(found):
                right = right_units(targets[row], hypothesis.tokens)
                self._tokens[mode].add(hypothesis.confidences, right, halves[row])
                joined = self._joined(hypothesis)
                spoken = words_of_form(texts[row], self.recognizer.config.text_form)
                right = right_units(spoken, [word.text for word in joined])
                self._words[mode].add([word.confidence for word in joined], right, halves[row])
            if mode == self.modes[0]:
                self._speech += self._recognised(encoded, found, targets, halves)
                for cut, (hypothesis, frames) in zip(batch, found, strict=True):
                    spikes = [frames[position] * self._seconds for position in hypothesis.positions]
                    self._delays.add(cut.samples, spikes)

    def _joined(self, hypothesis: Hypothesis) -> list[Word]:
        """Words of a hypothesis; empty if the tokens do not mark word boundaries."""
        tokenizer = self.recognizer.tokenizer
        if hypothesis.of_decoder or not isinstance(tokenizer, SentencePieceTokenizer):
            return []
        pairs = zip(hypothesis.tokens, hypothesis.confidences, strict=True)
        return words([Token(tokenizer.piece(token), 0, 0, value) for token, value in pairs])

    def _decoded(
        self, encoded: EncodedAudio, mode: DecodeMode
    ) -> list[tuple[Hypothesis, Sequence[int]]]:
        """Hypotheses, each with the source frames of the columns of its positions."""
        return list(zip(*self.recognizer.hypotheses(encoded, mode), strict=True))

    def _recognised(
        self,
        encoded: EncodedAudio,
        found: Sequence[tuple[Hypothesis, Sequence[int]]],
        targets: Sequence[tuple[int, ...]],
        halves: Sequence[int],
    ) -> list[RecognisedRecording]:
        regions = speech_regions(self.recognizer.network, encoded.encoded)
        return [
            RecognisedRecording(
                half=halves[row],
                seconds=encoded.seconds[row],
                regions=regions[row],
                tokens=hypothesis.tokens,
                frames=tuple(frames[position] for position in hypothesis.positions),
                target=targets[row],
            )
            for row, (hypothesis, frames) in enumerate(found)
        ]

    def _check_report(self, check: SpeechCheckConfig, tolerance: float) -> dict[str, Any]:
        hours = sum(sound.seconds for sound in self._sounds) / 3600
        tried = sorted({*REPORTED_TOLERANCES, tolerance})
        return {
            **check.model_dump(),
            "mode": self.modes[0],
            "tolerance": tolerance,
            "sounds": len(self._sounds),
            "sound_seconds": round(3600 * hours, 3),
            "without": self._crossed(None),
            "on_the_other_half": {f"{value:g}": self._crossed(value) for value in tried},
        }

    def _crossed(self, tolerance: float | None) -> dict[str, float]:
        """Token error rate and hallucinated tokens per hour, by two-fold cross-validation."""
        errors = hallucinated = 0
        for half in (0, 1):
            check = None
            if tolerance is not None:
                speech, sounds = _of_half(self._speech, 1 - half), _of_half(self._sounds, 1 - half)
                check = fit_speech_check(speech, sounds, tolerance)
            errors += errors_with(_of_half(self._speech, half), check)
            hallucinated += errors_with(_of_half(self._sounds, half), check)
        tokens = sum(len(recording.target) for recording in self._speech)
        hours = sum(sound.seconds for sound in self._sounds) / 3600
        return {
            "token_errors": errors / max(1, tokens),
            "hallucinated_tokens_per_hour": hallucinated / hours,
        }


def _of_half(recordings: Sequence[RecognisedRecording], half: int) -> list[RecognisedRecording]:
    return [recording for recording in recordings if recording.half == half]


def _calibration_report(before: ScoredConfidences, after: ScoredConfidences) -> dict[str, float]:
    first, second = reliability(before), reliability(after)
    return {
        "count": len(before.right),
        "right": float(before.right.mean()) if len(before.right) else 0.0,
        "confidence_before": float(before.confidences.mean()) if len(before.right) else 0.0,
        "confidence_after": float(after.confidences.mean()) if len(before.right) else 0.0,
        "ece_before": first.error,
        "ece_after": second.error,
        "nats_before": first.nats,
        "nats_after": second.nats,
    }
