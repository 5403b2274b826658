"""Where the time of a model on ONNX Runtime goes: seconds of its parts, each without those inside.

    python -m research.benchmarks.runtime_parts FOLDER LIST [--options '{"greedy": true}']

LIST is that of `research.benchmarks.whisper.recognise_with_keyframes`. After a warm-up on the first
recording, all are recognised one by one; prints JSON: seconds by part and the audio's.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keyframe_asr
from keyframe_asr import RecognitionOptions
from keyframe_asr.audio.loudness import SpeechLevel
from keyframe_asr.inference import longform
from keyframe_asr.inference.onnx_network import OnnxNetwork
from keyframe_asr.inference.recognizer import Recognizer
from keyframe_asr.runtime import network as running
from research.benchmarks.whisper.languages import languages_of

GRAPHS = {
    "pretrained": "pretrained encoder",
    "encoder": "encoder 1",
    "keyframes": "encoder 2",
    "decoder_memory": "decoder",
    "decoder": "decoder",
}


class Parts:
    """Seconds of parts; while one runs inside another, only the inner one counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    def timed(self, name: str | Callable[..., str], function: Callable[..., Any]) -> Any:
        """Return the function, whose time counts as that of a part; a callable names it."""

        def run(*given: Any, **named: Any) -> Any:
            self._switch()
            self._running.append(name if isinstance(name, str) else name(*given))
            try:
                return function(*given, **named)
            finally:
                self._switch()
                self._running.pop()

        return run

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._running:
            part = self._running[-1]
            self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now


def watch(recognizer: Recognizer, parts: Parts) -> None:
    """Count the calls of a recogniser on ONNX Runtime, in this process for good."""
    assert isinstance(recognizer.network, OnnxNetwork)
    targets: list[tuple[Any, str, str | Callable[..., str]]] = [
        (recognizer, "front_end", "front end"),
        (recognizer.network.exported.sessions, "run", lambda name, **_: GRAPHS[name]),
        (running, "select_keyframes", "selection"),
        (recognizer, "decode", "search"),
        (recognizer, "_non_speech", "speech check"),
        (SpeechLevel, "of_samples", "loudness for times"),
        (longform, "_warn_if_narrow", "check of the band"),
    ]
    for owner, attribute, name in targets:
        setattr(owner, attribute, parts.timed(name, getattr(owner, attribute)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("list", type=Path)
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    recognizer = keyframe_asr.load(given.model, "cpu", threads=given.threads, backend="onnx")
    several = len(languages_of(recognizer.config)) > 1
    parts = Parts()
    watch(recognizer, parts)
    recordings = [json.loads(line) for line in given.list.read_text(encoding="utf-8").splitlines()]
    recognise = parts.timed("reading and the rest", recognizer.transcribe)
    audio = 0.0
    for number, one in enumerate([recordings[0], *recordings]):
        if number == 1:
            parts.seconds.clear()
        told = {"language": one["language"]} if several else {}
        found = recognise(one["path"], RecognitionOptions(**(told | given.options)))
        audio += found.duration if number else 0.0
    print(json.dumps({"audio_seconds": audio, "parts": parts.seconds}))


if __name__ == "__main__":
    main()
