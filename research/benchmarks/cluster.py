"""How `keyframe transcribe --engine ray` scales on the processes of one machine.

An archive is recognised with each number of actors on a simulated cluster of Ray, and by plain
`keyframe transcribe --workers N`, round after round in turn. The time on the clock depends on what
else the machine does; the processor time of all processes, those of Ray included, does so less.
What starting costs is measured by an archive of a single recording.

    python -m research.benchmarks.cluster MODEL FOLDER --actors 1 2 --rounds 3
    python -m research.benchmarks.cluster MODEL FOLDER --joined # one long recording
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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

START = "one recording on Ray"
"""The contestant that only starts."""

LOOK_SECONDS = 0.1
"""Interval at which processor times are read."""

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


class ProcessorTime(threading.Thread):
    """Adds up the processor time of this process and all below it while it runs.

    Looks at them now and then: those of Ray that have ended leave no times to their parents.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self._seconds: dict[tuple[int, int], float] = {}
        self._begun = self._look()

    def _look(self) -> float:
        """Return the seconds so far."""
        parents = {os.getpid(): -1}
        found: dict[int, tuple[int, float]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            process = int(stat.parent.name)
            parents.setdefault(process, int(fields[1]))
            seconds = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
            found[process] = (int(fields[19]), seconds)
        for process, (start, seconds) in found.items():
            above = process
            while above > 0:
                above = parents.get(above, 0)
            if above == -1 or (process, start) in self._seconds:
                self._seconds[process, start] = seconds
        return sum(self._seconds.values())

    def run(self) -> None:
        """Look until `stop`."""
        while not self._ended.wait(LOOK_SECONDS):
            self._look()

    def stop(self) -> float:
        """Return the seconds since this was made."""
        self._ended.set()
        self.join()
        return self._look() - self._begun


class Measured:
    """A contestant whose processor time is measured, too."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run
        self.processor: list[float] = []

    def __call__(self) -> None:
        """Run it."""
        clock = ProcessorTime()
        clock.start()
        self._run()
        self.processor.append(clock.stop())


def report(
    seconds: float,
    times: Mapping[str, Sequence[float]],
    contestants: Mapping[str, Measured],
    actors: int,
) -> dict[str, Any]:
    """Return medians and extremes of seconds, hours of audio an hour, and the arithmetic."""
    processor_times = {name: one.processor for name, one in contestants.items()}
    clock = {name: statistics.median(found) for name, found in times.items()}
    cores = {name: statistics.median(found) for name, found in processor_times.items()}
    per_core = seconds / (cores[f"Ray, {actors} actors"] - cores[START])
    return {
        "target": "cluster",
        "seconds of audio": seconds,
        "seconds": {name: _spread(found) for name, found in times.items()},
        "processor seconds": {name: _spread(found) for name, found in processor_times.items()},
        "hours of audio an hour": {name: seconds / clock[name] for name in times},
        "hours of audio an hour of processor": {name: seconds / cores[name] for name in times},
        "start of Ray, seconds": clock[START],
        "hours of audio an hour per core, without the start": per_core,
        f"hours for {CLUSTER_HOURS:g} hours of audio on {CORES} cores": (
            CLUSTER_HOURS / per_core / CORES + clock[START] / 3600
        ),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "load": os.getloadavg()},
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "median": statistics.median(seconds),
        "minimum": min(seconds),
        "maximum": max(seconds),
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
        runs: dict[str, Callable[[], None]] = {
            START: functools.partial(contest.on_ray, max(given.actors), "one")
        }
        for count in given.actors:
            runs[f"Ray, {count} actors"] = functools.partial(contest.on_ray, count)
            runs[f"plain, {count} processes"] = functools.partial(contest.plain, count)
        contestants = {name: Measured(run) for name, run in runs.items()}
        times = in_turn(contestants, given.rounds, warm_up=0)
        found = report(contest.seconds, times, contestants, max(given.actors))
        if given.joined:
            found["hours of audio an hour, cutting"] = contest.seconds / cutting
        show(found, given.json)


if __name__ == "__main__":
    main()
