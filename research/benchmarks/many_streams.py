"""Time and memory of many streams at once, at the level of features, on several back ends in turn.

Each stream gets the features of recordings one after the other, a chunk per step, all streams in
every step.

    python -m research.benchmarks.many_streams MANIFEST MODEL:torch:1 EXPORT:onnx:1 EXPORT:onnx:2
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from keyframe_asr.audio.features import front_end
from keyframe_asr.config.model import load_model_folder_config
from keyframe_asr.data.feature_store import read_samples
from keyframe_asr.data.manifest import load_manifest
from keyframe_asr.inference.network import FeatureStream
from keyframe_asr.inference.onnx_network import open_onnx
from keyframe_asr.inference.torch_network import TorchNetwork
from keyframe_asr.io.model_folder import load_model_folder
from keyframe_asr.io.model_location import CONFIG_FILE
from keyframe_asr.streams.state import Floats
from keyframe_asr.timing import encoder_frame_seconds
from research.benchmarks.timing import argument_parser, in_turn, processor, show


class Streams:
    """Streams that go on with every call.

    Args:
        stream: of a network.
        features: (T, F) of each stream, all of one size.
        block: features per step.
        threads: of torch; ONNX Runtime has its own.
    """

    def __init__(
        self, stream: FeatureStream, features: Sequence[Floats], block: int, threads: int
    ) -> None:
        self._stream, self._features, self._block, self._threads = stream, features, block, threads
        self._states, self._done = [stream.start() for _ in features], 0
        self.keyframes = self.largest = 0
        self.processor: list[float] = []

    def __call__(self) -> None:
        """Take the next step of all streams."""
        torch.set_num_threads(self._threads)
        now = [one[self._done : self._done + self._block] for one in self._features]
        began = time.process_time()
        self._states, outputs = self._stream.step(self._states, now, [False] * len(now))
        self.processor.append(time.process_time() - began)
        self._done += self._block
        self.keyframes += sum(len(one.keyframes) for one in outputs)
        self.largest = max(self.largest, *(state.nbytes for state in self._states))


def opened(described: str, chunk: int | None) -> tuple[FeatureStream, int]:
    """The streams of FOLDER:BACKEND:THREADS, and the number of threads."""
    folder, backend, threads = described.rsplit(":", 2)
    if backend == "onnx":
        return open_onnx(Path(folder), threads=int(threads)).stream(chunk), int(threads)
    network = load_model_folder(Path(folder)).network
    return TorchNetwork(network, "cpu").stream(chunk), int(threads)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("manifest")
    parser.add_argument("contestants", nargs="+", metavar="FOLDER:BACKEND:THREADS")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--chunk", type=int)
    given = parser.parse_args(arguments)
    config = load_model_folder_config(Path(given.contestants[0].rsplit(":", 2)[0]) / CONFIG_FILE)
    streams = {one: opened(one, given.chunk) for one in given.contestants}
    chunk, factor = streams[given.contestants[0]][0].chunk, config.model.subsampling.factor
    compute = front_end(config.features, None)
    cuts = list(load_manifest(given.manifest))
    recordings = [compute(read_samples(cut)) for cut in cuts]
    warm_up = given.steps // 3
    size = (given.steps + warm_up) * chunk * factor
    every = np.concatenate(recordings)
    features = [
        np.resize(
            np.roll(every, -number * len(every) // given.streams, axis=0), (size, every.shape[1])
        )
        for number in range(given.streams)
    ]
    runs = {
        name: Streams(stream, features, chunk * factor, threads)
        for name, (stream, threads) in streams.items()
    }
    times = in_turn(runs, given.steps, warm_up)
    rows: dict[str, Any] = {}
    for name, seconds in times.items():
        run = runs[name]
        rows[name] = {
            "ms": 1000 * statistics.median(seconds),
            "quartiles": [1000 * one for one in statistics.quantiles(seconds, n=4)[::2]],
            "processor ms": 1000 * statistics.median(run.processor[warm_up:]),
            "bytes of a state": run.largest,
            "keyframes": run.keyframes,
        }
    show(
        {
            "processor": processor(),
            "streams": given.streams,
            "steps": given.steps,
            "ms of a step": 1000 * chunk * encoder_frame_seconds(factor),
            "rows": rows,
        },
        given.json,
    )


if __name__ == "__main__":
    main()
