"""Run the cases in child processes, find the culprit where several ran at once, and report."""

from __future__ import annotations

import queue
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.cases import (
    AudioCase,
    TextCase,
    answers_of,
    audio_case,
    audio_job,
    audio_problems,
    text_case,
    undamaged_job,
)
from fuzz.child import Child, Job, Outcome
from fuzz.inputs import INPUTS, TextInput, write_inputs
from fuzz.recordings import originals

AT_ONCE = 24
"""Damaged recordings of one command."""

PROGRESS_EVERY = 1000

GOOD_AT_ONCE = 2
"""Undamaged recordings among them."""


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        seed: decides all damage.
        audio: number of damaged recordings.
        text: number of other damaged files.
        processes: number of child processes.
        keep: folder for files that were not answered right.
        only: the only case to run, such as audio-17.
        quick: only common containers, and commands that take little time.
    """

    seed: int = 1
    audio: int = 10_000
    text: int = 2_000
    processes: int = 1
    keep: Path = Path("fuzz-failures")
    only: str = ""
    quick: bool = False


@dataclass
class Report:
    """What was found.

    Attributes:
        failures: one description each.
        counts: number of files by kind (audio, text), container or file name, and answer.
        seconds: how long it took.
        peak_megabytes: most memory of a process.
    """

    failures: list[str] = field(default_factory=list)
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    seconds: float = 0.0
    peak_megabytes: float = 0.0

    def count(self, kind: str, answer: str) -> int:
        """Number of files of a kind, audio or text, that were answered so."""
        return sum(
            number for (of, _, one), number in self.counts.items() if (of, one) == (kind, answer)
        )

    def summary(self) -> str:
        """The counts as a table, in Markdown."""
        answers = ("taken", "refused", "wrong")
        rows = [f"| file | {' | '.join(answers)} |", "|---|" + "---:|" * len(answers)]
        for kind in ("audio", "text"):
            for name in sorted({name for one, name, _ in self.counts if one == kind}):
                counts = [self.counts[kind, name, answer] for answer in answers]
                rows.append(f"| {name} | {' | '.join(map(str, counts))} |")
        total = [self.count("audio", one) + self.count("text", one) for one in answers]
        rows.append(f"| all | {' | '.join(map(str, total))} |")
        rows.append(f"\n{self.seconds / 60:.1f} minutes, {self.peak_megabytes:.0f} MB a process")
        return "\n".join(rows)


class _Fuzzer:
    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.report = Report()
        self._folder = folder
        self._idle: queue.Queue[Child] = queue.Queue()
        for number in range(plan.processes):
            shutil.copytree(folder, folder.with_name(f"{number}"))
            self._idle.put(Child(folder.with_name(f"{number}")))
        self._originals = originals(plan.quick)
        self._texts: dict[str, str] = {}

    def close(self) -> None:
        while not self._idle.empty():
            child = self._idle.get()
            self.report.peak_megabytes = max(self.report.peak_megabytes, child.peak_megabytes)
            child.close()

    def ask(self, *jobs: Job) -> list[Outcome]:
        """Run jobs in a process that is idle, all in the same folder."""
        child = self._idle.get()
        try:
            return [child.run(job) for job in jobs]
        finally:
            self._idle.put(child)

    def audio(self, numbers: Sequence[int]) -> None:
        """Run recordings, several in one command."""
        self._learn_texts()
        groups = [numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE)]
        with ThreadPoolExecutor(self.plan.processes) as pool:
            list(pool.map(self._audio_group, groups))

    def text(self, numbers: Sequence[int]) -> None:
        """Run other files, one in a command."""
        inputs = [one for one in INPUTS if not (self.plan.quick and one.command[0] == "train")]
        used = {number % len(inputs) for number in numbers}
        used = {number % len(inputs): inputs[number % len(inputs)] for number in numbers}
        with ThreadPoolExecutor(self.plan.processes) as pool:
            list(pool.map(self._undamaged, used.values()))
            cases = [text_case(self.plan.seed, one, inputs, self._folder) for one in numbers]
            list(pool.map(self._text, cases))

    def _learn_texts(self) -> None:
        """Texts of the undamaged recordings, which those that are read must have."""
        files = {
            f"good-{number}.{one.suffix}": one.content for number, one in enumerate(self._originals)
        }
        (outcome,) = self.ask(audio_job([], files))
        self._texts = {path: str(one["text"]) for path, one in answers_of(outcome)[0].items()}
        for number, (path, content) in enumerate(files.items()):
            if bool(self._texts.get(path)) != self._originals[number].is_read:
                name = self._originals[number].name
                reason = [line for line in outcome.stderr.splitlines() if path in line]
                self._fail(f"undamaged {name} ({path}): {reason or outcome}", [(path, content)])
        self._good = {path: content for path, content in files.items() if self._texts.get(path)}

    def _audio_group(self, numbers: Sequence[int]) -> None:
        cases = [audio_case(self.plan.seed, number, self._originals) for number in numbers]
        paths = sorted(self._good)
        chosen = [
            paths[(numbers[0] // AT_ONCE * GOOD_AT_ONCE + one) % len(paths)]
            for one in range(GOOD_AT_ONCE)
        ]
        good = {path: self._good[path] for path in chosen}
        texts = {path: self._texts[path] for path in chosen}
        (outcome,) = self.ask(audio_job(cases, good))
        if _is_suspicious(cases, outcome, texts) and len(cases) > 1:
            alone = self.ask(*(audio_job([case], good) for case in cases))
            if not any(
                _is_suspicious([case], one, texts) for case, one in zip(cases, alone, strict=True)
            ):
                files = [(case.path, case.damaged.content) for case in cases]
                what = outcome.fault or audio_problems(cases, outcome, texts)[-1]
                self._fail(f"audio-{numbers[0]} to {numbers[-1]} together: {what}", files)
            for case, one in zip(cases, alone, strict=True):
                self._judge_audio([case], one, texts)
        else:
            self._judge_audio(cases, outcome, texts)

    def _judge_audio(
        self, cases: Sequence[AudioCase], outcome: Outcome, texts: dict[str, str]
    ) -> None:
        if outcome.fault:
            problems = {case.number: outcome.fault for case in cases}
        else:
            problems = audio_problems(cases, outcome, texts)
        if len(cases) == 1 and -1 in problems:
            problems.setdefault(cases[0].number, problems.pop(-1))
        for case in cases:
            container = case.original.container
            taken = f'"{case.path}"' in outcome.stdout
            self._count("audio", container, taken, case.number in problems)
            if case.number in problems:
                files = [(case.path, case.damaged.content)]
                self._fail(f"{case.title}: {problems[case.number]}", files)

    def _undamaged(self, given: TextInput) -> None:
        (outcome,) = self.ask(undamaged_job(given, self._folder))
        if outcome.exit_code != 0:
            self._fail(f"undamaged: keyframe {' '.join(given.command)}: {outcome}", [])

    def _text(self, case: TextCase) -> None:
        undamaged = [undamaged_job(case.given, self._folder)] if case.same else []
        outcome, *others = self.ask(case.job, *undamaged)
        problem = case.problem(outcome, *others)
        self._count("text", case.given.path, outcome.exit_code == 0, bool(problem))
        if problem:
            path = f"text-{case.number}-{case.given.path.replace('/', '-')}"
            self._fail(f"{case.title}: {problem}", [(path, case.damaged.content)])

    def _count(self, kind: str, name: str, taken: bool, wrong: bool) -> None:
        answer = "wrong" if wrong else "taken" if taken else "refused"
        self.report.counts[kind, name, answer] += 1
        done = self.report.counts.total()
        if done % PROGRESS_EVERY == 0:
            print(f"{done} files", file=sys.stderr, flush=True)

    def _fail(self, what: str, files: Sequence[tuple[str, bytes]]) -> None:
        """Tell at once, in short, and keep the files and the whole story."""
        self.plan.keep.mkdir(parents=True, exist_ok=True)
        for path, content in files:
            (self.plan.keep / path).write_bytes(content)
        story = self.plan.keep / f"failure-{len(self.report.failures)}.log"
        story.write_text(what, encoding="utf-8", errors="backslashreplace")
        self.report.failures.append(what)
        print(f"seed {self.plan.seed}: {in_short(what)} (see {story})", file=sys.stderr, flush=True)


def in_short(what: str) -> str:
    """The first and last line of a story, and the project's last line in a traceback."""
    lines = [line.strip() for line in what.splitlines() if line.strip()]
    places = [line for line in lines if "/keyframe_asr/" in line]
    place = places[0] if "most recent call first" in what else (places or [""])[-1]
    return " | ".join(dict.fromkeys(filter(None, (lines[0], place, lines[-1]))))[:600]


def run(plan: Plan) -> Report:
    """Run what is planned, and print each failure as soon as it is known."""
    began = time.monotonic()
    kind, _, number = plan.only.partition("-")
    with _fuzzer(plan) as fuzzer:
        if kind in ("", "audio") and plan.audio:
            fuzzer.audio([int(number)] if number else range(plan.audio))
        if kind in ("", "text") and plan.text:
            fuzzer.text([int(number)] if number else range(plan.text))
    fuzzer.report.seconds = time.monotonic() - began
    return fuzzer.report


@contextmanager
def _fuzzer(plan: Plan) -> Iterator[_Fuzzer]:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(scratch, "inputs")
        write_inputs(folder)
        fuzzer = _Fuzzer(plan, folder)
        try:
            yield fuzzer
        finally:
            fuzzer.close()


def _is_suspicious(cases: Sequence[AudioCase], outcome: Outcome, texts: dict[str, str]) -> bool:
    """Whether something is wrong that cannot be ascribed to one of several recordings."""
    return bool(outcome.fault) or -1 in audio_problems(cases, outcome, texts)
