"""A recording of several sentences is written to its end, though training had single sentences."""

from __future__ import annotations

import numpy as np

import keyframe_asr
from keyframe_asr.data.corpora.synthetic.espeak import SpeechSynthesiser

SENTENCES = ("it was good for me", "we are going to the market", "the kids really like the dogs")


def test_every_sentence_of_a_recording_is_written() -> None:
    synthesiser = SpeechSynthesiser()
    pause = np.zeros(6_400, dtype=np.float32)
    parts = [part for one in SENTENCES for part in (synthesiser.say(one, "en-us+f2")[0], pause)]
    recognizer = keyframe_asr.load("english-mandarin", "cpu")
    for mode in ("rescore", "attention"):
        found = recognizer.transcribe(np.concatenate(parts), mode)
        words = found.normal_text.split()
        assert "MARKET" in words and words[-1] == "DOGS", (mode, found.text)
