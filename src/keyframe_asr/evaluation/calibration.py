"""What a model learns of itself from speech it was not trained on: confidences, a check, times.

Its confidences are scaled, its check for speech is fitted, and token starts are moved from the CTC
spikes to where sound begins.

Confidences and check are fitted twice: on halves of the speakers and of the kinds of sounds, each
measured on the other half, for the report; and on all of it, for the model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from keyframe_asr.audio.synthetic_noise import NonSpeech
from keyframe_asr.config.calibration import ConfidenceConfig, Confidences, SpeechCheckConfig
from keyframe_asr.data.manifest import load_manifest, text
from keyframe_asr.decoding.confidence import fit_scaling, right_units, scaled
from keyframe_asr.decoding.hypothesis import Hypothesis
from keyframe_asr.decoding.scorers import ShallowFusion
from keyframe_asr.decoding.timestamps import words
from keyframe_asr.errors import KeyframeError
from keyframe_asr.evaluation.reliability import Judged, reliability
from keyframe_asr.evaluation.report import machine
from keyframe_asr.evaluation.scoring import ReadCut, read_batches
from keyframe_asr.evaluation.speech_check_fit import Heard, errors_with, fit_speech_check
from keyframe_asr.evaluation.times import EmissionDelays
from keyframe_asr.inference.batch_recognizer import EncodedAudio
from keyframe_asr.inference.modes import decode
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.inference.speech_check import speech_regions
from keyframe_asr.results import Token, Word
from keyframe_asr.text.forms import NORMALISATIONS
from keyframe_asr.text.tokenizer import SentencePieceTokenizer
from keyframe_asr.timing import encoder_frame_seconds

TOLERANCE = 0.002
TRADE = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05)
"""Tolerances that the report tries besides."""


@dataclass
class _Confidences:
    """Of tokens or words of one decode mode, in the order they were heard."""

    values: list[float] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    half: list[int] = field(default_factory=list)

    def add(self, values: Sequence[float], right: Sequence[bool], half: int) -> None:
        self.values += values
        self.right += right
        self.half += [half] * len(right)

    def judged(self, of_halves: Sequence[ConfidenceConfig] | None = None) -> Judged:
        """As they are, or with the scaling of each half."""
        values, half = np.array(self.values), np.array(self.half, dtype=np.int64)
        if of_halves is not None:
            values = np.choose(half, [scaled(values, one) for one in of_halves])
        return Judged(values, np.array(self.right, dtype=np.bool_))

    def fit(self, half: int | None = None) -> ConfidenceConfig:
        """Fitted on a half, or on all."""
        found = self.judged()
        chosen = np.array([half in (None, one) for one in self.half], dtype=np.bool_)
        return fit_scaling(found.confidences[chosen], found.right[chosen])


@dataclass(frozen=True)
class Calibration:
    """What was found.

    Attributes:
        confidences: by decode mode.
        speech_check: None where sounds gave no text, or there were none.
        report: as `keyframe calibrate --json` writes it.
        panels: confidences before and after, by title, for the picture.
    """

    confidences: Confidences
    speech_check: SpeechCheckConfig | None
    report: dict[str, Any]
    panels: dict[str, tuple[Judged, Judged]]


class Calibrator:
    """Listens to speech and to sounds without it, then fits.

    Args:
        recognizer: the model; what it knew of its certainty is set aside.
        modes: decode modes to calibrate; the check for speech is fitted to the first.
    """

    def __init__(self, recognizer: Recognizer, modes: Sequence[DecodeMode]) -> None:
        recognizer.speech_check, recognizer.confidences = None, {}
        self.recognizer = recognizer
        self.modes = modes
        self.failed: list[KeyframeError] = []
        self._speech: list[Heard] = []
        self._sounds: list[Heard] = []
        self._delays = EmissionDelays()
        self._seconds = encoder_frame_seconds(recognizer.network.subsampling.factor)
        self._tokens: dict[DecodeMode, _Confidences] = {mode: _Confidences() for mode in modes}
        self._words: dict[DecodeMode, _Confidences] = {mode: _Confidences() for mode in modes}

    def hear_speech(
        self, manifest: str, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> None:
        """Recognise a manifest. Raises `ManifestError` if none of it can be."""
        cuts = list(load_manifest(manifest))
        names = [str(cut.supervisions[0].speaker) for cut in cuts]
        speakers = sorted(set(names))
        for batch in read_batches(manifest, cuts, self.failed, progress):
            # one speaker alone is split by recordings
            halves = [
                (speakers.index(names[one.place]) if len(speakers) > 1 else one.place) % 2
                for one in batch
            ]
            self._hear(batch, halves)

    def hear_sounds(self, sounds: Sequence[NonSpeech]) -> None:
        """Recognise sounds that hold no speech."""
        kinds = sorted({one.kind for one in sounds})
        for place, sound in enumerate(sounds):
            half = (kinds.index(sound.kind) if len(kinds) > 1 else place) % 2
            encoded = self.recognizer.encode([sound.samples])
            found = self._decoded(encoded, self.modes[0])
            self._sounds += self._heard(encoded, found, [()], [half])

    @property
    def emission_delay_seconds(self) -> float | None:
        """Median from the onsets of sound to spikes; None where too few of them were heard."""
        return self._delays.median

    def fit(self, tolerance: float = TOLERANCE) -> Calibration:
        """Scalings and the check for speech, with what they are worth."""
        confidences: Confidences = {}
        panels: dict[str, tuple[Judged, Judged]] = {}
        decoded: dict[str, Any] = {}
        for mode in self.modes:
            tokens, spoken = self._tokens[mode], self._words[mode]
            confidences[mode] = tokens.fit()
            crossed = tokens.fit(1), tokens.fit(0)
            decoded[mode] = confidences[mode].model_dump()
            decoded[mode]["of_halves"] = [one.model_dump() for one in crossed]
            rows = {"tokens": tokens} | ({"words": spoken} if spoken.values else {})
            for name, one in rows.items():
                pair = one.judged(), one.judged(crossed)
                panels[f"{mode}, {name}"] = pair
                decoded[mode][name] = _calibration_report(*pair)
        check = fit_speech_check(self._speech, self._sounds, tolerance) if self._sounds else None
        report = {
            "model": self.recognizer.config.name,
            "utterances": len(self._speech),
            "audio_seconds": round(sum(one.seconds for one in self._speech), 3),
            "machine": machine(self.recognizer.device_name),
            "decode": decoded,
            "speech_check": self._check_report(check, tolerance) if check else None,
            "onsets": self._delays.report(),
        }
        return Calibration(confidences, check, report, panels)

    def _hear(self, batch: Sequence[ReadCut], halves: Sequence[int]) -> None:
        normalise = NORMALISATIONS[self.recognizer.config.normalisation]
        texts = [normalise(text(one.cut)) for one in batch]
        targets = [tuple(self.recognizer.tokenizer.encode(one)) for one in texts]
        encoded = self.recognizer.encode([one.samples for one in batch])
        for mode in self.modes:
            found = self._decoded(encoded, mode)
            for row, (hypothesis, _) in enumerate(found):
                right = right_units(targets[row], hypothesis.tokens)
                self._tokens[mode].add(hypothesis.confidences, right, halves[row])
                joined = self._joined(hypothesis)
                right = right_units(texts[row].split(), [one.text for one in joined])
                self._words[mode].add([one.confidence for one in joined], right, halves[row])
            if mode == self.modes[0]:
                self._speech += self._heard(encoded, found, targets, halves)
                for one, (hypothesis, frames) in zip(batch, found, strict=True):
                    spikes = [frames[position] * self._seconds for position in hypothesis.positions]
                    self._delays.add(one.samples, spikes)

    def _joined(self, hypothesis: Hypothesis) -> list[Word]:
        """Words of a hypothesis; none where the tokens do not say where words begin."""
        tokenizer = self.recognizer.tokenizer
        if not isinstance(tokenizer, SentencePieceTokenizer):
            return []
        pairs = zip(hypothesis.tokens, hypothesis.confidences, strict=True)
        return words([Token(tokenizer.piece(token), 0, 0, value) for token, value in pairs])

    @torch.inference_mode()
    def _decoded(
        self, encoded: EncodedAudio, mode: DecodeMode
    ) -> list[tuple[Hypothesis, Sequence[int]]]:
        """Hypotheses, and the source frames of the columns that their positions count in."""
        network = self.recognizer.network
        options = RecognitionOptions(decode=mode)
        found = decode(network, encoded.encoded, encoded.silent, options, ShallowFusion())
        return list(zip(*found, strict=True))

    def _heard(
        self,
        encoded: EncodedAudio,
        found: Sequence[tuple[Hypothesis, Sequence[int]]],
        targets: Sequence[tuple[int, ...]],
        halves: Sequence[int],
    ) -> list[Heard]:
        regions = speech_regions(self.recognizer.network, encoded.encoded, self._seconds)
        return [
            Heard(
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
        hours = sum(one.seconds for one in self._sounds) / 3600
        tried = sorted({*TRADE, tolerance})
        return {
            **check.model_dump(),
            "mode": self.modes[0],
            "tolerance": tolerance,
            "sounds": len(self._sounds),
            "sound_seconds": round(3600 * hours, 3),
            "without": self._crossed(None),
            "on_the_other_half": {f"{one:g}": self._crossed(one) for one in tried},
        }

    def _crossed(self, tolerance: float | None) -> dict[str, float]:
        """Token errors and hallucinated tokens, each half under the check of the other."""
        errors = hallucinated = 0
        for half in (0, 1):
            check = None
            if tolerance is not None:
                speech, sounds = (
                    [one for one in many if one.half != half]
                    for many in (self._speech, self._sounds)
                )
                check = fit_speech_check(speech, sounds, tolerance)
            errors += errors_with([one for one in self._speech if one.half == half], check)
            hallucinated += errors_with([one for one in self._sounds if one.half == half], check)
        tokens = sum(len(one.target) for one in self._speech)
        hours = sum(one.seconds for one in self._sounds) / 3600
        return {
            "token_errors": errors / max(1, tokens),
            "hallucinated_tokens_per_hour": hallucinated / hours,
        }


def _calibration_report(before: Judged, after: Judged) -> dict[str, float]:
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
