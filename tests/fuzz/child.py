"""Commands run in a child process, so that hangs, crashes and their place become known."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SECONDS = 10.0
"""A command that computes for longer hangs: processor time, so that a busy machine is no hang."""

FIRST_SECONDS = 60.0
"""The first use of a command in a process, which imports what it needs, may compute this long."""

WAITING_SECONDS = 120.0
"""A command that has not ended after this time waits for something that does not come."""

MEGABYTES = 2500
"""A process that holds more has lost control of its memory: it needs about 500."""

OUTPUT = "out"
"""Folder that a command may write, removed before the next one."""


@dataclass(frozen=True)
class Job:
    """A command of `keyframe`, run in a folder, on files that are written there before.

    Attributes:
        arguments: of the command line.
        files: content by path in the folder; what they replace is put back after the command.
        stdin: standard input.
    """

    arguments: tuple[str, ...]
    files: dict[str, bytes] = field(default_factory=dict)
    stdin: bytes = b""


@dataclass(frozen=True)
class Outcome:
    """What a command left.

    Attributes:
        exit_code: None if the command did not come to its end.
        stdout: standard output.
        stderr: standard error.
        fault: traceback, hang, crash or memory; "" if there was none of them.
        written: content by path of the files in the output folder.
        seconds: how long it took.
    """

    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    fault: str = ""
    written: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0


class Child:
    """A process that runs one command after the other; it is replaced if it does not survive.

    Args:
        folder: where commands run.
        command: runs a job in the child.
    """

    def __init__(self, folder: Path, command: Callable[[Job, Path], Outcome] | None = None) -> None:
        self.folder = folder
        self._command = command or run_here
        self.peak_megabytes = 0.0
        self._used: set[tuple[str, ...]] = set()
        self._log = Path(tempfile.mkstemp(prefix="fuzz-", suffix=".log")[1])
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: multiprocessing.connection.Connection | None = None

    def run(self, job: Job) -> Outcome:
        """Run a command and wait for it."""
        if self._connection is None:
            self._start()
        seconds = SECONDS if job.arguments[:2] in self._used else FIRST_SECONDS
        self._used.add(job.arguments[:2])
        assert self._process is not None and self._connection is not None
        self._log.write_bytes(b"")
        watched = psutil.Process(self._process.pid)
        computed, began = self._computed(watched), time.monotonic()
        self._connection.send(job)
        fault = ""
        while not self._connection.poll(0.05):
            if (held := self._held(watched)) > MEGABYTES:
                fault = f"holds {held:.0f} MB"
            elif self._computed(watched) - computed > seconds:
                fault = f"computes for more than {seconds:.0f} s"
            elif time.monotonic() - began > WAITING_SECONDS:
                fault = f"waits for more than {WAITING_SECONDS:.0f} s"
            if fault:
                os.kill(watched.pid, signal.SIGUSR1)  # it tells where it is
                time.sleep(0.5)
                os.kill(watched.pid, signal.SIGKILL)
                break
        try:
            outcome: Outcome = self._connection.recv()
            self._held(watched)
        except (EOFError, ConnectionError):
            self._process.join()
            trace = self._log.read_text(errors="replace")
            cause = fault or f"ended with code {self._process.exitcode}"
            self._connection = None
            return Outcome(fault=f"{cause}\n{trace}")
        return outcome

    def close(self) -> None:
        """End the process."""
        if self._connection is not None and self._process is not None:
            self._connection.close()
            self._process.kill()  # idle by now; taking torch down in good order takes seconds
            self._process.join()
        self._log.unlink(missing_ok=True)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, self.folder, self._log, self._command)
        )
        self._process.start()
        theirs.close()
        self._connection.recv()  # it has imported what every command needs
        self._used.clear()

    @staticmethod
    def _computed(process: psutil.Process) -> float:
        """Seconds of processor time that a process has used."""
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            return float(times.user + times.system)
        return 0.0

    def _held(self, process: psutil.Process) -> float:
        with contextlib.suppress(psutil.Error):
            held = process.memory_info().rss / 1e6
            self.peak_megabytes = max(self.peak_megabytes, held)
            return float(held)
        return 0.0


def _serve(
    connection: multiprocessing.connection.Connection,
    folder: Path,
    log: Path,
    command: Callable[[Job, Path], Outcome],
) -> None:
    """Run jobs until the connection is closed."""
    if command is run_here:
        import torch

        import fixtures.tone_corpus  # noqa: F401  (training without pictures, on the CPU)

        torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    with log.open("ab", buffering=0) as trace:
        faulthandler.enable(trace)
        faulthandler.register(signal.SIGUSR1, trace, all_threads=True)
        connection.send("ready")
        while True:
            try:
                job = connection.recv()
            except EOFError:
                return
            try:
                outcome = command(job, folder)
            except Exception:
                outcome = Outcome(fault=traceback.format_exc())
            connection.send(outcome)


def run_here(job: Job, folder: Path) -> Outcome:
    """Run a job in this process: write its files, run the command, put back what was there."""
    from fixtures.command_line import keyframe

    before = {name: _content(folder / name) for name in job.files}
    for name, content in job.files.items():
        (folder / name).write_bytes(content)
    began = time.monotonic()
    try:
        ran = keyframe(*job.arguments, folder=folder, stdin=job.stdin)
        outcome = Outcome(ran.exit_code, ran.stdout, ran.stderr)
    except BaseException:  # whatever it is, it is what is looked for
        outcome = Outcome(fault=traceback.format_exc())
    finally:
        took = time.monotonic() - began
        for name, old in before.items():
            if old is None:
                (folder / name).unlink()
            else:
                (folder / name).write_bytes(old)
    written = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / OUTPUT).rglob("*"))
        if path.is_file()
    }
    shutil.rmtree(folder / OUTPUT, ignore_errors=True)
    sys.stdout.flush()
    return Outcome(outcome.exit_code, outcome.stdout, outcome.stderr, outcome.fault, written, took)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
