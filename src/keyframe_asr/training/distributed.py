"""Training in one or several processes: which one writes, waiting, and sums over processes.

torchrun starts several processes, on one machine or on machines that share the folder of the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import gather_object

from keyframe_asr.errors import TrainingError


class Processes:
    """This process and its peers.

    Raises:
        TrainingError: accelerate joins fewer processes than torchrun started.
    """

    def __init__(self) -> None:
        # some weights get no gradient in some stages: fusion that is off, a head without a loss
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            # without this, accelerate does not join processes that have no GPU
            cpu=not torch.accelerator.is_available(),
            mixed_precision="no",
            kwargs_handlers=[unused],
        )
        started = int(os.environ.get("WORLD_SIZE", "1"))
        if started != self.count:
            raise TrainingError(
                f"torchrun started {started} processes, but accelerate joins {self.count}; "
                "unset ACCELERATE_* variables, or start without torchrun"
            )

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
        """Run `action` in the process that writes, while the others wait."""
        if self.writes:
            action()
        self.accelerator.wait_for_everyone()

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

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sum values over all processes."""
        if self.count == 1:
            return dict(values)
        everyone = gather_object([dict(values)])
        names = dict.fromkeys(name for one in everyone for name in one)
        return {name: sum(one.get(name, 0) for one in everyone) for name in names}
