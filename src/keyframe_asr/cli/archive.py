"""`keyframe transcribe --engine ray`: archives on one machine or a cluster, resumable."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from keyframe_asr import __version__
from keyframe_asr.cli.error_line import advice_on_interrupt, show_note
from keyframe_asr.cli.options import CLUSTER_PANEL
from keyframe_asr.cli.output_files import Format
from keyframe_asr.errors import KeyframeError
from keyframe_asr.inference.options import ComputeOptions, RecognitionOptions
from keyframe_asr.packages import packages_for
from keyframe_asr.timing import SECONDS_BETWEEN_LINES

if TYPE_CHECKING:
    from keyframe_asr.cluster.archive import Transcribed
    from keyframe_asr.cluster.plan import Plan

MOST_ACTORS = 100_000


class Engine(StrEnum):
    """What distributes recordings over processes."""

    local = "local"
    ray = "ray"


class Shards(StrEnum):
    """What the results of an archive are written as."""

    parquet = "parquet"
    jsonl = "jsonl"


def _option(*names: str, text: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=CLUSTER_PANEL, **more)


@dataclass(frozen=True)
class ClusterFlags:
    """Where an archive is transcribed."""

    engine: Annotated[
        Engine,
        _option(
            text="ray transcribes the recordings of a manifest, on this machine or a cluster, and "
            "goes on where it was interrupted."
        ),
    ] = Engine.local
    address: Annotated[
        str | None,
        _option(text="Ray cluster, such as auto or head:6379. Default: RAY_ADDRESS, else none."),
    ] = None
    actors: Annotated[
        int | None,
        _option(
            text="Processes that recognise. Default: one for each GPU, else for each core.",
            min=1,
            max=MOST_ACTORS,
        ),
    ] = None
    shards: Annotated[Shards, _option(text="What the results are written as.")] = Shards.parquet
    plan: Annotated[
        bool, _option("--plan", text="Only say what it will take; nothing is transcribed.")
    ] = False

    def check_unused(self) -> None:
        """Raise `typer.BadParameter` if an option is given that has no effect without Ray."""
        for name, given in (
            ("--address", self.address),
            ("--actors", self.actors),
            ("--shards", self.shards != Shards.parquet),
            ("--plan", self.plan),
        ):
            if given:
                raise typer.BadParameter("needs --engine ray", param_hint=name)


class Destination(Protocol):
    """Where results go."""

    @property
    def out(self) -> str | None:
        """Folder or URI."""

    @property
    def beside(self) -> bool:
        """Next to the recordings."""

    @property
    def overwrite(self) -> bool:
        """Replace what is there."""


def transcribe_on_ray(
    model: str,
    audio: list[str],
    destination: Destination,
    options: RecognitionOptions,
    compute: ComputeOptions,
    cluster: ClusterFlags,
    output: Format,
) -> None:
    """Transcribe an archive, or plan it. Raises `typer.Exit(1)` if recordings have errors."""
    _check(audio, destination, compute, cluster, output)
    (manifest,) = audio
    with packages_for("keyframe transcribe --engine ray"):
        import keyframe_asr.cluster.ray_engine  # noqa: F401  (first, to name the missing extra)
        from keyframe_asr.cluster.archive import ArchiveOptions, transcribe_archive
        from keyframe_asr.cluster.plan import plan_archive

    where = ArchiveOptions(
        cluster.address, cluster.actors, cluster.shards.value, destination.overwrite, __version__
    )
    if cluster.plan:
        print(_described(plan_archive(model, manifest, options, compute, where)))
        return
    assert destination.out is not None  # checked above
    with advice_on_interrupt("run the same command again to go on"):
        found = transcribe_archive(
            model, manifest, destination.out, options, compute, where, _Lines().show
        )
    print(_summary(found), file=sys.stderr)
    if found.counted.errors:
        raise KeyframeError(
            f"{found.counted.errors} of {found.counted.recordings} recordings could not be "
            f"transcribed; column error in {destination.out} says why"
        )


def _check(
    audio: list[str],
    destination: Destination,
    compute: ComputeOptions,
    cluster: ClusterFlags,
    output: Format,
) -> None:
    if len(audio) != 1:
        raise typer.BadParameter("--engine ray takes one manifest or folder", param_hint="AUDIO")
    if destination.beside:
        raise typer.BadParameter("--engine ray writes into --out", param_hint="--beside")
    if destination.out is None and not cluster.plan:
        raise typer.BadParameter("--engine ray needs a folder or URI", param_hint="--out")
    if (destination.out or "").lower().startswith("memory://"):
        raise typer.BadParameter("processes do not share memory://", param_hint="--out")
    if output != Format.text:
        raise typer.BadParameter("--engine ray writes --shards", param_hint="--format")
    if compute.workers != 1:
        raise typer.BadParameter("--engine ray has --actors instead", param_hint="--workers")


class _Lines:
    """Progress as a line from time to time, and one for each step that takes longer."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._step, self._began, self._first = "", self._last, 0

    def show(self, step: str, done: int, whole: int) -> None:
        """Show how much of a step is done."""
        now = time.monotonic()
        if step != self._step:
            self._step, self._began, self._first = step, now, done
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        line = f"{done / max(1, whole):.0%}, {done} of {whole} {step}"
        gained = done - self._first
        if gained > 0 and done < whole:
            line += f", about {_time((now - self._began) * (whole - done) / gained)} left"
        show_note(line)


def _summary(found: Transcribed) -> str:
    counted = found.counted
    line = f"{counted.recordings} recordings, {_time(counted.seconds)} of audio"
    line += f", {counted.errors} with an error"
    pool = found.pool
    if pool is None:
        return f"{line}; all were there already"
    if counted.took:
        each = "GPU" if pool.gpus else "core"
        speed = counted.seconds / counted.took / (1 if pool.gpus else pool.cores)
        line += f"; {speed:.3g} hours of audio an hour per {each}"
    return f"{line}; {_time(found.elapsed)} with {pool.actors} process{'es' * (pool.actors > 1)}"


def _described(plan: Plan) -> str:
    known = plan.archive
    lines = [f"{known.recordings} recordings, {_time(plan.seconds)} of audio"]
    if plan.sampled:
        lines[0] += f" (from the headers of {plan.sampled}"
        lines[0] += f"; {plan.unreadable} cannot be read)" if plan.unreadable else ")"
    return "\n".join(
        [
            *lines,
            f"{plan.speed / plan.cores:.3g} hours of audio an hour per core, measured on "
            f"{plan.probed:.0f} s",
            f"{_time(plan.core_hours * 3600)} of one core; {_time(plan.hours * 3600)} with "
            f"{plan.processes} process{'es' * (plan.processes > 1)}",
        ]
    )


def _time(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"
