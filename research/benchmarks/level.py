"""Measure how much the level of recordings changes what is recognised.

    python -m research.benchmarks.level MODEL MANIFEST [--decode MODE...] [--levels DB...]
        [--quiet -30] [--vad loudness silero] [--limit N] [--as-recorded] [--json FILE]

Levels are gains in decibels; where one would clip a recording, it is as loud as possible without
clipping. `mixed` alternates the recordings between a gain of `--quiet` and none in the same
batches; `joined` concatenates them with pauses of noise 50 dB below, once as they are and once
alternating. `--as-recorded` turns the model's own normalisation of level off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keyframe_asr.audio.level import speech_level
from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.data.manifest import audio_path, load_manifest, text
from keyframe_asr.evaluation.metrics import count_errors, split_units
from keyframe_asr.evaluation.report import machine
from keyframe_asr.inference.options import DecodeMode, RecognitionOptions, VoiceActivity
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.io.model_folder import StoredModel, find_model, load_model_folder
from keyframe_asr.timing import SAMPLE_RATE
from research.benchmarks.timing import argument_parser, show

LEVELS = (-40.0, -30.0, -20.0, -10.0, 0.0, 6.0, 12.0)
PAUSES = (0.6, 1.0)
"""Shortest and longest pause between joined recordings, in seconds."""

PAUSE_LEVEL = -50.0
"""Decibels of the noise in pauses, relative to the speech before them."""


def at_gain(samples: Samples, decibels: float) -> Samples:
    """Amplify samples (S,), but not beyond full scale."""
    peak = float(np.abs(samples).max(initial=0.0)) or 1.0
    gain = 10 ** (decibels / 20)
    return (samples * (min(gain, 1 / peak) if gain > 1 else gain)).astype(np.float32)


def joined(recordings: Sequence[Samples]) -> Samples:
    """Concatenate recordings, with a pause after each."""
    random = np.random.default_rng(0)
    parts: list[Samples] = []
    for one in recordings:
        size = round(random.uniform(*PAUSES) * SAMPLE_RATE)
        noise = random.normal(size=size) * 10 ** ((speech_level(one) + PAUSE_LEVEL) / 20)
        parts += [one, noise.astype(np.float32)]
    return np.concatenate(parts)


class LevelBenchmark:
    """Error rates of one model in one decode mode."""

    def __init__(self, recognizer: Recognizer, mode: DecodeMode, texts: list[str]) -> None:
        self._recognizer, self._mode, self._texts = recognizer, mode, texts
        self._form = recognizer.config.text_form
        self._first: list[str] | None = None

    def rate(self, references: list[str], texts: list[str]) -> float:
        """Return the error rate in the unit of the model's texts, as a fraction."""
        pairs = [[split_units(one, self._form) for one in texts] for texts in (references, texts)]
        return round(count_errors(*pairs).rate, 5)

    def short(self, recordings: Sequence[Samples]) -> dict[str, Any]:
        """Recognise recordings in batches; the first call is what the others differ from."""
        found = [one.text for one in self._recognizer.transcribe_batch(recordings, self._mode)]
        self._first = self._first or found
        return {
            "error": self.rate(self._texts, found),
            "empty": sum(not one for one in found),
            "differing": sum(one != other for one, other in zip(found, self._first, strict=True)),
        }

    def long(self, recordings: Sequence[Samples], detector: VoiceActivity) -> dict[str, Any]:
        """Recognise the concatenation of recordings."""
        options = RecognitionOptions(decode=self._mode, voice_activity=detector)
        found = self._recognizer.transcribe(joined(recordings), options)
        separator = " " if self._form.separation == "spaces" else ""
        return {"error": self.rate([separator.join(self._texts)], [found.text])}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--decode", nargs="*", default=None)
    parser.add_argument("--levels", type=float, nargs="*", default=LEVELS)
    parser.add_argument("--quiet", type=float, default=-30.0)
    parser.add_argument("--vad", nargs="*", default=["loudness", "silero"])
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--as-recorded", action="store_true")
    given = parser.parse_args(arguments)
    model = load_model_folder(find_model(given.model))
    if given.as_recorded:
        features = model.config.features.model_copy(update={"level": None})
        config = model.config.model_copy(update={"features": features})
        model = StoredModel(model.network, model.tokenizer, config)
    recognizer = Recognizer(model)
    cuts = list(load_manifest(given.manifest))
    cuts = cuts[:: max(1, len(cuts) // given.limit)] if given.limit else cuts
    recordings = [read_audio(audio_path(cut)) for cut in cuts]
    alternating = [at_gain(one, given.quiet * (place % 2)) for place, one in enumerate(recordings)]
    result: dict[str, Any] = {
        "machine": machine(recognizer.device_name),
        "model": given.model,
        "level": model.config.features.level,
        "utterances": len(cuts),
        "decode": {},
    }
    for mode in given.decode or recognizer.modes[:1]:
        benchmark = LevelBenchmark(recognizer, mode, [text(cut) for cut in cuts])
        benchmark.short(recordings)
        result["decode"][mode] = {
            "levels": {
                f"{level:+g} dB": benchmark.short([at_gain(one, level) for one in recordings])
                for level in given.levels
            },
            "mixed": benchmark.short(alternating),
            "joined": {
                detector: {
                    "as recorded": benchmark.long(recordings, detector),
                    "mixed": benchmark.long(alternating, detector),
                }
                for detector in given.vad
            },
        }
    show(result, given.json)


if __name__ == "__main__":
    main()
