"""One process or several: who writes, who waits, and what all of them counted together.

Several are started by torchrun, on one machine or on many that share the folder of the run.
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
    """This process among those that train together.

    Raises:
        TrainingError: torchrun started several, but they do not find one another.
    """

    def __init__(self) -> None:
        # Stages leave some weights without a gradient: fusion that is off, a head without a loss.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(
            # else accelerate takes processes without a GPU for strangers to one another
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
        """Where this process computes."""
        device: torch.device = self.accelerator.device
        return device

    @property
    def number(self) -> int:
        """From 0; the first one writes."""
        return int(self.accelerator.process_index)

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.accelerator.num_processes)

    @property
    def writes(self) -> bool:
        """Whether this process writes files and progress."""
        return bool(self.accelerator.is_main_process)

    def write(self, action: Callable[[], object]) -> None:
        """Do it in the process that writes, while the others wait."""
        if self.writes:
            action()
        self.accelerator.wait_for_everyone()

    def check_shared(self, path: Path) -> None:
        """Refuse a file that the first process wrote and this one does not see.

        Raises:
            TrainingError: the folder of the run is not shared between the machines.
        """
        if self.count > 1 and not path.exists():
            raise TrainingError(
                f"{path}: written by the first process, but not seen by process {self.number}; "
                "put --out on storage that all machines share"
            )

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """The values of all processes, added up."""
        if self.count == 1:
            return dict(values)
        everyone = gather_object([dict(values)])
        names = dict.fromkeys(name for one in everyone for name in one)
        return {name: sum(one.get(name, 0) for one in everyone) for name in names}
