"""Recognise a list of recordings with a model of this project, one by one.

    python -m research.benchmarks.whisper.recognise_with_keyframes MODEL LIST --threads 1
        [--options '{"decode": "attention", "beam": 1}'] [--backend onnx]

Options are those of `keyframe_asr.RecognitionOptions`. A model of several languages is told that of
each recording, as whisper is, unless the options have a `language`: `null` lets it hear which.
Input and output are those of `recognise_with_faster_whisper.py`. A step is a run of the decoder,
which may be over several hypotheses; where the decoder does not run, there are no vectors. Imports
torch only if the model runs on it, as its time and memory are measured, too.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keyframe_asr
from keyframe_asr import RecognitionOptions
from keyframe_asr.inference.network import RecognitionNetwork
from keyframe_asr.inference.onnx_network import OnnxNetwork
from keyframe_asr.io.threads import set_openmp
from research.benchmarks.timing import peak_megabytes
from research.benchmarks.whisper.languages import languages_of

if TYPE_CHECKING:
    from keyframe_asr.model.encoded import Encoded


class DecoderCounts:
    """Counts the runs of a network's decoder, and the vectors that it may attend to."""

    def __init__(self, network: RecognitionNetwork) -> None:
        self.steps, self._vectors = 0, 0
        if isinstance(network, OnnxNetwork):
            self._count_graphs(network)
        else:
            self._count_modules(network)

    def _count_graphs(self, network: OnnxNetwork) -> None:
        encode, sessions = network.exported.encode, network.exported.sessions
        run = sessions.run

        def counted_encode(*given: Any, **named: Any) -> Any:
            encoded = encode(*given, **named)
            self._vectors += int(encoded.attended_lengths.sum())
            return encoded

        def counted_run(name: str, **inputs: Any) -> Any:
            self.steps += name == "decoder"
            return run(name, **inputs)

        network.exported.encode = counted_encode  # type: ignore[method-assign]
        sessions.run = counted_run  # type: ignore[method-assign]

    def _count_modules(self, recognising: RecognitionNetwork) -> None:
        from keyframe_asr.inference.torch_network import module_of

        network = module_of(recognising)
        encode, decoder = network.encode, network.decoder
        if decoder is None:
            return
        step = decoder.step

        def counted_encode(*given: Any, **named: Any) -> Encoded:
            encoded = encode(*given, **named)
            self._vectors += int(encoded.attended[1].sum())
            return encoded

        def counted_step(*given: Any) -> Any:
            self.steps += 1
            return step(*given)

        def counted_forward(*_: object) -> None:
            self.steps += 1

        # set on the instances, as calls from within reach these, too
        network.encode = counted_encode  # type: ignore[method-assign]
        decoder.step = counted_step  # type: ignore[method-assign]
        decoder.register_forward_hook(counted_forward)

    @property
    def vectors(self) -> int:
        """The vectors, if the decoder has run."""
        return self._vectors if self.steps else 0

    def reset(self) -> None:
        """Count from 0."""
        self.steps, self._vectors = 0, 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("list", type=Path)
    parser.add_argument("--options", type=json.loads, default={})
    parser.add_argument("--backend", choices=("auto", "torch", "onnx"), default="auto")
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args(arguments)
    set_openmp(os.environ)  # before torch is imported, as the command line does
    recognizer = keyframe_asr.load(given.model, "cpu", threads=given.threads, backend=given.backend)
    counts = DecoderCounts(recognizer.network)
    several = len(languages_of(recognizer.config)) > 1

    def options_for(language: str) -> RecognitionOptions:
        told = {"language": language} if several else {}
        return RecognitionOptions(**(told | given.options))

    recordings = [json.loads(line) for line in given.list.read_text(encoding="utf-8").splitlines()]
    recognizer.transcribe(recordings[0]["path"], options_for(recordings[0]["language"]))
    for one in recordings:
        counts.reset()
        began = time.perf_counter()
        text = recognizer.transcribe(one["path"], options_for(one["language"])).text
        seconds = time.perf_counter() - began
        row = {"id": one["id"], "text": text, "seconds": seconds, "steps": counts.steps}
        print(json.dumps(row | {"vectors": counts.vectors}, ensure_ascii=False), flush=True)
    print(json.dumps({"peak_megabytes": peak_megabytes()}), flush=True)


if __name__ == "__main__":
    main()
