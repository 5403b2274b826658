"""Recordings to try the page with: espeak-ng speaks them when they are first asked for."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import soundfile

from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser, data_folder
from keyframe_asr.errors import KeyframeError
from keyframe_asr.server.service import ModelFacts
from keyframe_asr.timing import SAMPLE_RATE

QUIET = 0.3
"""Seconds before and after the speech."""

NOISE = 3e-4
"""Standard deviation of the noise below the speech: no room is as silent as zeros."""


@dataclass(frozen=True)
class Example:
    """A sentence that shipped models recognise in this voice.

    Attributes:
        text: what is said.
        voice, rate: of espeak-ng; the rate is in words per minute.
        language: of the text.
        fewest, most: number of languages of the models that know such sentences. Those of one
            language are small ones, for spelled names, numbers and commands; espeak's Mandarin is
            too far from people's for those of several.
    """

    text: str
    voice: str
    rate: int
    language: str
    fewest: int = 1
    most: int = 1_000

    def fits(self, facts: ModelFacts) -> bool:
        """True if the model is likely to recognise it."""
        languages = facts.languages
        return self.language in languages and self.fewest <= len(languages) <= self.most


EXAMPLES = (
    Example("What is the weather like today?", "en-us", 150, "en", fewest=2),
    Example("Please open the window.", "en-us", 150, "en", fewest=2),
    Example("Six two eight three", "en-us+m3", 130, "en"),
    Example("Four one two five five five", "en-us+f2", 120, "en", most=1),
    Example("P I T T S B U R G H", "en-us+f2", 120, "en", most=1),
    Example("打开三号灯", "cmn", 160, "zh", most=1),
    Example("五零一六五", "cmn+f3", 160, "zh", most=1),
    Example("关闭五号灯", "cmn+f3", 160, "zh", most=1),
)


class Examples:
    """The examples that fit the models that are served.

    Attributes:
        models: names of the models for each example that fits one, by its number; none without
            espeak-ng.
    """

    def __init__(self, models: Mapping[str, ModelFacts]) -> None:
        self.models = {
            number: names
            for number, one in enumerate(EXAMPLES)
            if (names := [name for name, facts in models.items() if one.fits(facts)])
        }
        try:
            data_folder()
        except KeyframeError:  # espeak-ng is not installed
            self.models = {}
        self._made: dict[int, bytes] = {}
        self._one_at_a_time = asyncio.Lock()

    async def recording(self, number: int) -> bytes | None:
        """Return an example as a WAV file; None if there is none of this number.

        Raises:
            SpeechSynthesisError: espeak-ng fails.
        """
        if number not in self.models:
            return None
        async with self._one_at_a_time:
            if number not in self._made:
                self._made[number] = await asyncio.to_thread(_spoken, EXAMPLES[number])
        return self._made[number]


def _spoken(example: Example) -> bytes:
    text = example.text.lower() if example.language == "en" else example.text
    # a synthesiser of its own, because what one says depends on what it has said before
    speech = SpeechSynthesiser().say(text, example.voice, rate=example.rate)[0]
    samples = np.pad(speech, round(QUIET * SAMPLE_RATE))
    samples += np.random.default_rng(0).normal(0, NOISE, samples.size).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
