"""Details of an evaluation, utterance by utterance: what `keyframe evaluate --details` writes.

One JSON object per line and utterance, in the order of the manifest; the fields are described in
docs/guides/evaluate.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from keyframe_asr.audio.level import speech_level
from keyframe_asr.audio.loudness import signal_to_noise
from keyframe_asr.audio.reading import Samples
from keyframe_asr.config.text_form import TextForm
from keyframe_asr.evaluation.metrics import aligned, split_units
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.results import Transcript
from keyframe_asr.text.forms import normaliser

Details: TypeAlias = Mapping[str, Any]
"""The details of one utterance, ready for JSON."""


@dataclass(frozen=True)
class Signal:
    """Speech level in decibels relative to full scale, and estimated signal-to-noise ratio."""

    level: float
    snr: float | None

    @classmethod
    def of_samples(cls, samples: Samples) -> Signal:
        """Measure samples (S,) at 16 kHz."""
        return cls(speech_level(samples), signal_to_noise(samples))


@dataclass(frozen=True)
class Output:
    """The transcript in one decode mode, and the utterance's share of the computing in seconds."""

    transcript: Transcript
    seconds: float


@dataclass
class Utterance:
    """One utterance of a manifest and what was recognised in it.

    Attributes:
        name: its identifier in the manifest.
        speaker: "" if unknown.
        audio: path of the recording.
        channel: of the recording, counted from 0; None is the mean of all.
        start: where the utterance begins in it, in seconds.
        duration: in seconds.
        text: reference, as it is in the manifest.
        signal: None if the recording could not be read.
        frames: encoder frames.
        keyframes: those that encoder 2 sees.
        outputs: by decode mode.
        error: why the utterance was not scored; None if it was.
    """

    name: str
    speaker: str
    audio: Path
    channel: int | None
    start: float
    duration: float
    text: str
    signal: Signal | None = None
    frames: int = 0
    keyframes: int = 0
    outputs: dict[str, Output] = field(default_factory=dict)
    error: str | None = None


def details_of(utterance: Utterance, form: TextForm) -> dict[str, Any]:
    """The details of an utterance, scored in the unit of a text form."""
    found: dict[str, Any] = {
        "id": utterance.name,
        "speaker": utterance.speaker,
        "audio": str(utterance.audio),
        "channel": utterance.channel,
        "start": round(utterance.start, 3),
        "duration": round(utterance.duration, 3),
        "text": utterance.text,
    }
    if utterance.error is not None:
        return {**found, "error": utterance.error}
    reference = normaliser(form)(utterance.text)
    units = split_units(reference, form)
    signal = utterance.signal
    return {
        **found,
        "reference": reference,
        "unit": form.unit,
        "length": len(units),
        "level": None if signal is None else round(signal.level, 1),
        "snr": None if signal is None or signal.snr is None else round(signal.snr, 1),
        "frames": utterance.frames,
        "keyframes": utterance.keyframes,
        "decode": {
            mode: _output(units, output, form) for mode, output in utterance.outputs.items()
        },
    }


def _output(reference: Sequence[str], output: Output, form: TextForm) -> dict[str, Any]:
    transcript = output.transcript
    hypothesis = normaliser(form)(transcript.text)
    pairs = aligned(reference, split_units(hypothesis, form))
    deletions = sum(found is None for _, found in pairs)
    insertions = sum(expected is None for expected, _ in pairs)
    errors = sum(expected != found for expected, found in pairs)
    confidences = [token.confidence for token in transcript.tokens]
    return {
        "text": transcript.text,
        "hypothesis": hypothesis,
        "errors": errors,
        "substitutions": errors - deletions - insertions,
        "deletions": deletions,
        "insertions": insertions,
        "alignment": pairs,
        "confidence": round(sum(confidences) / len(confidences), 4) if confidences else None,
        "words": [
            {
                "text": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 4),
            }
            for word in transcript.normal_words
        ],
        "seconds": round(output.seconds, 6),
    }


def save_details(details: Iterable[Details], path: Path) -> None:
    """Write one line per utterance, atomically. Raises `KeyframeError` if it cannot be written."""
    lines = (json.dumps(one, ensure_ascii=False, allow_nan=False) + "\n" for one in details)
    write_whole(path, "".join(lines))
