"""What each process knows of an epoch in which a run is stored, beside weights and optimiser.

That is the sums of its batches and the state of its random numbers, which dropout draws. The order
of the batches and their augmentation follow from the seed.
"""

from __future__ import annotations

from typing import Any

import torch

from keyframe_asr.training.distributed import Processes
from keyframe_asr.training.epoch_statistics import EpochStatistics


def own_share(statistics: EpochStatistics, processes: Processes) -> dict[str, Any]:
    """The share of this process, as tensors and plain values."""
    share = {"statistics": statistics.so_far(), "random": torch.get_rng_state()}
    if processes.device.type != "cpu":
        share["device_random"] = torch.get_device_module(processes.device).get_rng_state()
    return share


def take_up(
    shares: list[dict[str, Any]], statistics: EpochStatistics, processes: Processes
) -> None:
    """Go on with the shares of a run that was interrupted; nothing if there are none.

    If the number of processes has changed, the first takes all sums, and the random numbers are
    those of the beginning of the epoch.
    """
    if not shares:
        return
    if len(shares) != processes.count:
        if processes.number == 0:
            _take_all([share["statistics"] for share in shares], statistics)
        return
    own = shares[processes.number]
    statistics.take(own["statistics"])
    torch.set_rng_state(own["random"])
    if "device_random" in own and processes.device.type != "cpu":
        torch.get_device_module(processes.device).set_rng_state(own["device_random"])


def _take_all(several: list[dict[str, Any]], statistics: EpochStatistics) -> None:
    """Take the sums of processes that worked at the same time: only the longest time counts."""
    longest = max(several, key=lambda one: float(one["seconds"]))
    for one in several:
        statistics.take(one if one is longest else one | {"seconds": 0.0, "waited": 0.0})
