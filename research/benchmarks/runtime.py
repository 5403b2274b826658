"""Compare models on torch and ONNX Runtime, in float32 and 8 bits, with whisper and sherpa-onnx.

    python -m research.benchmarks.runtime --work FOLDER --json FILE \\
        --whisper FOLDER --whisper-python PYTHON
        [--models an4-small an4 english-mandarin] [--most 30] [--timed 4] [--rounds 5]
        [--threads 1 2] [--joined english] [--joined-seconds 600] [--whisper-beams 5]

Recordings: test recordings of 3 to 4.5 s, and one joined from such recordings with pauses of half
a second. Every system runs in a process of its own, and the systems take turns; figures are medians
of rounds, real-time factors after a warm-up. The start is the time from the start of the process
to its first text. Memory is the peak of the process. The joined recording goes through whisper and
the 8-bit `english-mandarin`, with the first number of threads. Errors are those of `--most`
recordings a set and of the joined one, in the forms of `research.benchmarks.whisper`; all systems
are told the language. Where the time of the 8-bit models goes is measured once
(`runtime_parts.py`).

The 8-bit rows are the models as they are shipped. Exports in float32 and for sherpa-onnx are made
in FOLDER if they are not there. FOLDER and PYTHON of whisper are those of
`research.benchmarks.whisper.compare`. Needs the extras `export` and `sherpa`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from keyframe_asr.audio.reading import Samples, read_audio
from keyframe_asr.io.atomic_write import write_whole
from keyframe_asr.timing import SAMPLE_RATE
from research.benchmarks.runtime_report import bars, markdown
from research.benchmarks.timing import processor
from research.benchmarks.whisper.recordings import Recording, RecordingSet, read_sets, spread
from research.benchmarks.whisper.scoring import score
from research.benchmarks.whisper.systems import PACKAGE, System, recognise, whisper_systems

SETS_OF = {
    "an4-small": ("an4",),
    "an4": ("an4",),
    "english-mandarin": ("english", "mandarin"),
}
SHORTEST, LONGEST, PAUSE = 3.0, 4.5, 0.5
"""Seconds."""


@dataclass(frozen=True)
class Contestant:
    """A system, the sets that it recognises, and whether it recognises the joined recordings."""

    system: System
    sets: tuple[str, ...]
    joined: bool

    @property
    def name(self) -> str:
        """Unique in a comparison."""
        return self.system.name


def own_contestants(model: str, work: Path) -> Iterator[Contestant]:
    """Yield a model on torch, as graphs in float32 and 8 bits, decoded as usual and faster."""
    rows: list[tuple[str, Path | str, str, dict[str, bool | str]]] = [
        ("torch", model, "torch", {}),
        ("float32", exported(model, work), "onnx", {}),
        ("8 bits", model, "onnx", {}),
        ("8 bits, greedy", model, "onnx", {"greedy": True}),
    ]
    if model == "english-mandarin":  # which is decoded with Whisper's decoder
        rows += [
            ("torch, ctc", model, "torch", {"decode": "ctc"}),
            ("8 bits, ctc", model, "onnx", {"decode": "ctc"}),
        ]
    for name, folder, backend, options in rows:
        script = f"{PACKAGE}.recognise_with_keyframes"
        given = ("--backend", backend, "--options", json.dumps(options))
        command = (sys.executable, "-m", script, str(folder), "LIST", *given)
        system = System(f"{model}, {name}", command, {})
        joined_too = model == "english-mandarin" and name.startswith("8 bits")
        yield Contestant(system, SETS_OF[model], joined_too)
    if model == "an4-small":
        there = str(exported(model, work, "--for", "sherpa-onnx", "--int8"))
        ctc = (sys.executable, "-m", f"{PACKAGE}.recognise_with_sherpa", there, "LIST")
        yield Contestant(System(f"{model}, 8 bits, sherpa-onnx", ctc, {}), ("an4",), False)


def exported(model: str, work: Path, *flags: str) -> Path:
    """Return the folder of an export, which is made if it is not there."""
    folder = work / "-".join([model, *(flag.strip("-") for flag in flags)])
    if not folder.exists():
        command = [sys.executable, "-m", "keyframe_asr", "export", model, "--out", str(folder)]
        subprocess.run([*command, *flags], check=True)
    return folder


def chosen(sets: Sequence[RecordingSet], most: int) -> dict[str, RecordingSet]:
    """Recordings of 3 to 4.5 s of each set, evenly spread, by name of the set."""
    found = {}
    for one in sets:
        fitting = [clip for clip in one.recordings if SHORTEST <= clip.seconds <= LONGEST]
        clips = tuple(spread(fitting, most))
        found[one.name] = RecordingSet(one.name, one.title, one.form, clips)
    return found


def joined(one: RecordingSet, seconds: float, folder: Path) -> RecordingSet:
    """Write a recording of a set's recordings with pauses, repeated if they do not suffice."""
    fitting = [clip for clip in one.recordings if SHORTEST <= clip.seconds <= LONGEST]
    parts: list[Samples] = []
    texts: list[str] = []
    size = 0
    while size < seconds * SAMPLE_RATE:
        clip = fitting[len(texts) % len(fitting)]
        parts += [read_audio(clip.path), np.zeros(round(PAUSE * SAMPLE_RATE), dtype=np.float32)]
        size += parts[-2].size + parts[-1].size
        texts.append(clip.text)
    path = folder / f"joined-{one.name}.flac"
    soundfile.write(path, np.concatenate(parts), SAMPLE_RATE)
    name = f"joined {one.name}"
    text = ("" if fitting[0].language == "zh" else " ").join(texts)
    whole = Recording(name, "all", str(path), fitting[0].language, text, size / SAMPLE_RATE)
    return RecordingSet(name, f"{one.title}, joined", one.form, (whole,))


def measured(
    contestant: Contestant, recordings: Sequence[Recording], threads: int
) -> tuple[dict[str, float], dict[str, str]]:
    """Run a system once: real-time factor by set, `start`, and `memory`; and the texts by id."""
    rows: list[dict[str, Any]] = []
    start, began = 0.0, time.perf_counter()
    for row in recognise(contestant.system, recordings, threads):
        if not rows:  # recognised before, as a warm-up
            start = time.perf_counter() - began - row["seconds"]
        rows.append(row)
    memory = rows.pop()["peak_megabytes"]
    taken: dict[str, tuple[float, float]] = {}
    for one, row in zip(recordings, rows, strict=True):
        name = one.id.split("/")[0]
        seconds, audio = taken.get(name, (0.0, 0.0))
        taken[name] = seconds + row["seconds"], audio + one.seconds
    factors = {name: seconds / audio for name, (seconds, audio) in taken.items()}
    return factors | {"start": start, "memory": memory}, {row["id"]: row["text"] for row in rows}


def summarised(runs: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """Median, least and most of each figure of runs."""
    return {
        name: [f([run[name] for run in runs]) for f in (statistics.median, min, max)]
        for name in runs[0]
    }


class Comparison:
    """Texts and figures of contestants, as they come in."""

    def __init__(
        self, clips: dict[str, RecordingSet], long: dict[str, RecordingSet], timed: int
    ) -> None:
        self.clips, self.long = clips, long
        self.timed = {name: spread(one.recordings, timed) for name, one in clips.items()}
        self.texts: dict[str, dict[str, str]] = {}
        self._runs: dict[tuple[str, int, bool], list[dict[str, float]]] = {}

    def write_texts(self, one: Contestant) -> None:
        """Recognise all recordings of 3 to 4.5 s."""
        recordings = [clip for name in one.sets for clip in self.clips[name].recordings]
        self.texts[one.name] = measured(one, recordings, 1)[1]

    def run(self, one: Contestant, threads: int, long: bool) -> None:
        """Time the system once; `long`: also the joined recordings, in processes of their own."""
        recordings = [clip for name in one.sets for clip in self.timed[name]]
        figures, _ = measured(one, recordings, threads)
        self._runs.setdefault((one.name, threads, False), []).append(figures)
        for group in self.long.values() if long and one.joined else ():
            warm_up = self.timed[group.name.removeprefix("joined ")][0]
            figures, texts = measured(one, [warm_up, *group.recordings], threads)
            kept = {name: figures[name] for name in (group.name, "memory")}
            self._runs.setdefault((one.name, threads, True), []).append(kept)
            self.texts[one.name] |= texts

    def figures(self) -> list[dict[str, Any]]:
        """Medians and ranges, as JSON values."""
        return [
            {"system": name, "threads": threads, "joined": whole, **summarised(runs)}
            for (name, threads, whole), runs in self._runs.items()
        ]

    def errors(
        self, contestants: Sequence[Contestant], peer_python: str
    ) -> dict[str, dict[str, Any]]:
        """Error rates by set and system, with paired differences."""
        found = {}
        for group in (*self.clips.values(), *self.long.values()):
            ids = [one.id for one in group.recordings]
            texts = {
                one.name: [self.texts[one.name][name] for name in ids]
                for one in contestants
                if all(name in self.texts.get(one.name, {}) for name in ids)
            }
            peers = [one.name for one in contestants if one.system.is_whisper]
            found[group.name] = score(group, texts, peer_python).described(peers)
        return found


def parts_of(model: str, recordings: Sequence[Recording]) -> dict[str, Any]:
    """Seconds of the parts of a model in 8 bits, decoded as usual on one thread."""
    command = (sys.executable, "-m", "research.benchmarks.runtime_parts", model, "LIST")
    (found,) = recognise(System("parts", command, {}), recordings, 1)
    return found


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="exports and joined recordings")
    parser.add_argument("--json", type=Path, required=True, help="the record")
    parser.add_argument("--whisper", type=Path, help="folder for faster-whisper")
    parser.add_argument("--whisper-python", default=sys.executable)
    parser.add_argument("--whisper-beams", nargs="+", type=int, choices=(1, 5), default=[5])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", nargs="+", choices=SETS_OF, default=list(SETS_OF))
    parser.add_argument("--joined", nargs="*", choices=SETS_OF["english-mandarin"])
    parser.add_argument("--joined-seconds", type=float, default=600)
    parser.add_argument("--most", type=int, default=30, help="recordings a set for errors")
    parser.add_argument("--timed", type=int, default=4, help="recordings a set that are timed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    given = parser.parse_args(arguments)
    if given.joined is None:
        given.joined = ["english"] if "english-mandarin" in given.models else []
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Recognise, time and score with all systems, and write the report."""
    given = parsed(arguments)
    given.work.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for model in given.models for name in SETS_OF[model]))
    whole = {one.name: one for one in read_sets(names, given.data, given.work)}
    clips = chosen(list(whole.values()), given.most)
    long = [joined(whole[name], given.joined_seconds, given.work) for name in given.joined]
    contestants = [one for model in given.models for one in own_contestants(model, given.work)]
    whispers = whisper_systems(given.whisper, given.whisper_python, None)
    peers = [one for one in whispers if one.setting["beam"] in given.whisper_beams]
    contestants = [Contestant(one, tuple(names), True) for one in peers] + contestants
    comparison = Comparison(clips, {one.name: one for one in long}, given.timed)
    for one in contestants:
        print(f"{one.name}: recognising", file=sys.stderr)
        comparison.write_texts(one)
    report: dict[str, Any] = {
        "processor": processor(),
        "sets": {
            one.name: {"recordings": len(one.recordings), "title": one.title}
            for one in (*clips.values(), *long)
        },
        "timed": given.timed,
        "peers": [one.name for one in peers],
        "parts": {},
    }
    for number in range(1, given.rounds + 1):
        for threads in given.threads:
            for one in contestants:
                comparison.run(one, threads, threads == given.threads[0])
        report |= {"rounds": number, "figures": comparison.figures()}
        write_whole(given.json, json.dumps(report, ensure_ascii=False) + "\n")
        print(f"round {number} of {given.rounds} done", file=sys.stderr)
    report["errors"] = comparison.errors(contestants, given.whisper_python)
    for model in given.models:
        for name in SETS_OF[model]:
            report["parts"][f"{model}, {name}"] = parts_of(model, comparison.timed[name])
            for group in long if name in given.joined else ():
                recordings = [*comparison.timed[name][:1], *group.recordings]
                report["parts"][f"{model}, {group.name}"] = parts_of(model, recordings)
    report["bars"] = bars(report)
    write_whole(given.json, json.dumps(report, ensure_ascii=False) + "\n")
    print(markdown(report))


if __name__ == "__main__":
    main()
