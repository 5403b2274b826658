"""Hallucinations: words or characters recognised per hour of non-speech."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyframe_asr.audio.synthetic_noise import NonSpeech
from keyframe_asr.evaluation.metrics import split_units
from keyframe_asr.evaluation.report import machine
from keyframe_asr.inference.options import DecodeMode
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.timing import SAMPLE_RATE


@dataclass
class Hallucinations:
    """Counts for the sounds of one kind.

    Attributes:
        sounds: number of sounds.
        seconds: their total duration.
        units: hallucinated words or characters.
        with_text: number of sounds with any text.
        texts: the hallucinated texts by name of the sound.
    """

    sounds: int = 0
    seconds: float = 0.0
    units: int = 0
    with_text: int = 0
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, sound: NonSpeech, text: str, units: int) -> None:
        """Count one sound."""
        self.sounds += 1
        self.seconds += sound.samples.size / SAMPLE_RATE
        self.units += units
        self.with_text += bool(text)
        if text:
            self.texts[sound.name] = text

    def report(self) -> dict[str, Any]:
        """The counts for the JSON report."""
        return {
            "sounds": self.sounds,
            "seconds": round(self.seconds, 3),
            "with_text": self.with_text,
            "hallucinated": self.units,
            "per_hour": 3600 * self.units / self.seconds if self.seconds else 0.0,
            "texts": self.texts,
        }


def count_hallucinations(
    recognizer: Recognizer, sounds: Sequence[NonSpeech], modes: Iterable[DecodeMode]
) -> dict[str, Any]:
    """Recognise non-speech sounds and report hallucinations.

    The report lists every decode mode, in total and by kind of sound, with and without the speech
    check.

    Raises:
        AudioError: a sound cannot be recognised.
    """
    check = recognizer.speech_check
    report: dict[str, Any] = {
        "model": recognizer.config.name,
        "unit": recognizer.config.text_form.unit,
        "checked": check is not None,
        "machine": machine(recognizer.device_name),
        "decode": {},
    }
    try:
        for mode in modes:
            report["decode"][mode] = found = _count(recognizer, sounds, mode)
            if check is not None:
                recognizer.speech_check = None
                found["without_check"] = _count(recognizer, sounds, mode)
                recognizer.speech_check = check
    finally:
        recognizer.speech_check = check
    return report


def _count(recognizer: Recognizer, sounds: Sequence[NonSpeech], mode: DecodeMode) -> dict[str, Any]:
    every = Hallucinations()
    kinds = {sound.kind: Hallucinations() for sound in sounds}
    results = recognizer.transcribe_each([sound.samples for sound in sounds], mode)
    for sound, result in zip(sounds, results, strict=True):
        found = result.unwrap()
        units = split_units(found.normal_text, recognizer.config.text_form)
        for counts in (every, kinds[sound.kind]):
            counts.add(sound, found.text, len(units))
    report = every.report()
    del report["texts"]
    return report | {"kinds": {kind: counts.report() for kind, counts in kinds.items()}}
