"""Training in one or several processes: which one writes, waiting, and sums over processes.

torchrun starts several processes, on one machine or on machines that share the folder of the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from keyframe_asr.errors import KeyframeError, TrainingError
from keyframe_asr.training.peers import Peers


class Processes:
    """This process and its peers.

    Raises:
        TrainingError: accelerate joins fewer processes than torchrun started.
    """

    def __init__(self) -> None:
        self.accelerator = Accelerator(
            # without this, accelerate does not join processes that have no GPU
            cpu=not torch.accelerator.is_available(),
            mixed_precision="no",
        )
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if started != self.count:
            raise TrainingError(
                f"torchrun started {started} processes, but accelerate joins {self.count}; "
                "unset ACCELERATE_* variables, or start without torchrun"
            )
        self._writes = self._waits = 0
        if self.count > 1:
            self._peers = Peers(self.count)

    @property
    def device(self) -> torch.device:
        """Device of this process."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def number(self) -> int:
        """Index of this process, from 0; process 0 writes."""
        return int(self.accelerator.process_index)

    @property
    def count(self) -> int:
        """Number of processes."""
        return int(self.accelerator.num_processes)

    @property
    def writes(self) -> bool:
        """True if this process writes files and progress."""
        return bool(self.accelerator.is_main_process)

    def write(self, action: Callable[[], object]) -> None:
        """Run `action` in the process that writes, while the others wait.

        Raises:
            TrainingError: in the others, if it failed: all processes stop with its message. The
                process that writes raises the original error.
        """
        if self.count == 1:
            action()
            return
        self._writes += 1
        key = f"write {self._writes}"
        if not self.writes:
            message = self._peers.hear(key)
            if message:
                raise TrainingError(message)
            return
        try:
            action()
        except Exception as error:
            self._peers.tell(key, _described(error))
            raise
        self._peers.tell(key, "")

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """Stop all processes within seconds if one fails, each with its message.

        One that waits for the gradients of another that has failed, and cannot be woken, exits.

        Raises:
            TrainingError: another process failed.
        """
        if self.count == 1:
            yield
            return
        self._peers.watch()
        try:
            yield
            self.accelerator.wait_for_everyone()  # the first process keeps the store
        except Exception as error:
            if _is_lost_connection(error):
                raise self._peers.failure() from error
            self._peers.fail(_described(error))
            raise
        finally:
            self._peers.end()

    def wait(self) -> None:
        """Wait for all processes, however long it takes.

        Raises:
            TrainingError: another process failed.
        """
        if self.count > 1:
            self._waits += 1
            self._peers.meet(f"wait {self._waits}")

    def check_shared(self, path: Path) -> None:
        """Check that this process sees a file written by the first process.

        Raises:
            TrainingError: the folder of the run is not shared between the machines.
        """
        if self.count > 1 and not path.exists():
            raise TrainingError(
                f"{path}: written by the first process, but not visible to process {self.number}; "
                "put --out on storage shared by all machines"
            )

    def gather(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        """The values of all processes, in their order."""
        if self.count == 1:
            return [value]
        found: list[dict[str, Any]] = gather_object([value])
        return found

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sum values over all processes."""
        if self.count == 1:
            return dict(values)
        everyone = gather_object([dict(values)])
        names = dict.fromkeys(name for one in everyone for name in one)
        return {name: sum(one.get(name, 0) for one in everyone) for name in names}


def _described(error: Exception) -> str:
    if isinstance(error, KeyframeError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _is_lost_connection(error: Exception) -> bool:
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and "gloo" in str(error)
    )
