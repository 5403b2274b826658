"""How `keyframe transcribe --engine ray` scales on the processes of one machine.

An archive is recognised with each number of actors on a simulated cluster of Ray, and by plain
`keyframe transcribe --workers N`, round after round in turn. The model recognises, Ray distributes;
the start of Ray, of Python and of the processes is part of the time, and also measured alone, by an
archive of a single recording.

    python -m research.benchmarks.cluster MODEL FOLDER --actors 1 2 --rounds 3
    python -m research.benchmarks.cluster MODEL FOLDER --joined # one long recording
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from pyarrow import parquet

from keyframe_asr.audio.reading import announced_seconds, read_audio
from keyframe_asr.cluster.cutting import segments_found
from keyframe_asr.cluster.manifest import Recording
from keyframe_asr.inference.options import RecognitionOptions
from keyframe_asr.timing import SAMPLE_RATE
from research.benchmarks.timing import argument_parser, in_turn, processor, show

CORES, CLUSTER_HOURS = 1000, 10_000.0
"""Size of the cluster and of the archive that the arithmetic is for."""


def transcribe(model: str, *words: object) -> None:
    """Run `keyframe transcribe` in a process of its own; it must succeed."""
    command = [sys.executable, "-m", "keyframe_asr", "transcribe", model, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)


@contextmanager
def simulated_cluster(cores: int) -> Iterator[str]:
    """Run machines of one core each, and yield the address of their head."""
    from keyframe_asr.cluster import ray_engine  # noqa: F401, I001  (Ray is quiet)
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(cores - 1):
            cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


def write_manifest(file: Path, recordings: Sequence[Path]) -> float:
    """Write a manifest, and return its seconds of audio."""
    seconds = [announced_seconds(path) for path in recordings]
    rows = [
        {"id": path.name, "uri": str(path), "duration": length}
        for path, length in zip(recordings, seconds, strict=True)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return sum(seconds)


class Contest:
    """An archive that is recognised in several ways.

    Args:
        model: as on the command line.
        recordings: files.
        short: the one that is recognised to measure the start.
        copies: how often each is in the archive.
        address: of the cluster.
        folder: for manifests and results.
    """

    def __init__(
        self,
        model: str,
        recordings: Sequence[Path],
        short: Path,
        copies: int,
        address: str,
        folder: Path,
    ) -> None:
        self._model, self._address, self._folder = model, address, folder
        self._archive, self._runs = folder / "audio", 0
        self._archive.mkdir()
        files = []
        for copy in range(copies):
            for number, path in enumerate(recordings):
                files.append(self._archive / f"{copy}-{number}{path.suffix}")
                shutil.copy(path, files[-1])
        self.count = len(files)
        self.seconds = write_manifest(folder / "all.jsonl", files)
        write_manifest(folder / "one.jsonl", [short])

    def on_ray(self, actors: int, manifest: str = "all") -> None:
        """Recognise the archive on Ray, and check that nothing is missing."""
        self._runs += 1
        out = self._folder / f"ray-{self._runs}"
        where = ("--engine", "ray", "--address", self._address, "--actors", actors)
        transcribe(self._model, self._folder / f"{manifest}.jsonl", *where, "--out", out)
        expected = 1 if manifest == "one" else self.count
        assert parquet.read_table(out, columns=["id"]).num_rows == expected

    def plain(self, workers: int) -> None:
        """Recognise the archive by the processes of `keyframe transcribe`."""
        self._runs += 1
        out = self._folder / f"plain-{self._runs}"
        options = ("--workers", workers, "--threads", 1, "--format", "json", "--out", out)
        transcribe(self._model, self._archive, *options)


def report(seconds: float, times: dict[str, list[float]], actors: Sequence[int]) -> dict[str, Any]:
    """Return medians, extremes, hours of audio an hour, and what follows for a cluster."""
    medians = {name: statistics.median(found) for name, found in times.items()}
    start = medians["one recording on Ray"]
    most = max(actors)
    working = medians[f"Ray, {most} actors"] - start
    speed = seconds / working / most
    return {
        "target": "cluster",
        "seconds of audio": seconds,
        "seconds": {
            name: {"median": medians[name], "minimum": min(found), "maximum": max(found)}
            for name, found in times.items()
        },
        "hours of audio an hour": {name: seconds / medians[name] for name in times},
        "start of Ray, seconds": start,
        "hours of audio an hour per core, without the start": speed,
        f"hours for {CLUSTER_HOURS:g} hours of audio on {CORES} cores": (
            CLUSTER_HOURS / speed / CORES + start / 3600
        ),
        "machine": {"processor": processor(), "cores": os.cpu_count()},
    }


def joined(recordings: Sequence[Path], file: Path) -> Path:
    """Write one recording of several, half a second apart."""
    pause = np.zeros(SAMPLE_RATE // 2, np.float32)
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1) as written:
        for path in recordings:
            written.write(read_audio(path))
            written.write(pause)
    return file


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argument_parser(__doc__)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path, help="of recordings, searched for .flac and .wav")
    parser.add_argument("--copies", type=int, default=1, help="of each recording in the archive")
    parser.add_argument("--most", type=int, help="recordings that are taken")
    parser.add_argument("--joined", action="store_true", help="to one long recording")
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    recordings = sorted(
        path for path in given.folder.rglob("*") if path.suffix in (".flac", ".wav")
    )[: given.most]
    with (
        tempfile.TemporaryDirectory() as folder,
        simulated_cluster(max(given.actors)) as address,
    ):
        short = recordings[0]
        if given.joined:
            recordings = [joined(recordings, Path(folder, "joined.flac"))]
            began = time.perf_counter()
            segments_found(Recording("x", str(recordings[0])), RecognitionOptions())
            cutting = time.perf_counter() - began
        contest = Contest(given.model, recordings, short, given.copies, address, Path(folder))
        contestants = {
            "one recording on Ray": lambda: contest.on_ray(max(given.actors), "one"),
            **{
                f"Ray, {n} actors": lambda n=n: contest.on_ray(n)  # type: ignore[misc]
                for n in given.actors
            },
            **{
                f"plain, {n} processes": lambda n=n: contest.plain(n)  # type: ignore[misc]
                for n in given.actors
            },
        }
        times = in_turn(contestants, given.rounds, warm_up=0)
        found = report(contest.seconds, times, given.actors)
        if given.joined:
            found["hours of audio an hour, cutting"] = contest.seconds / cutting
        show(found, given.json)


if __name__ == "__main__":
    main()
