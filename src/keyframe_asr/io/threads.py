"""OpenMP settings of the command line: how threads wait, and how many there are.

torch computes with OpenMP, whose threads spin while they wait for one another (in libgomp, for
milliseconds). On a machine with other busy processes, a thread that spins keeps the thread that it
waits for from running. Recognition then takes many times as long as with one thread.

OpenMP reads these variables when it is loaded, so they must be set before torch is imported.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

WAIT_POLICY, THREADS = "OMP_WAIT_POLICY", "OMP_NUM_THREADS"


def set_openmp(environment: MutableMapping[str, str], *, reproducible: bool = False) -> None:
    """Let threads sleep while they wait, and choose their number; what is set already is kept.

    Args:
        environment: `os.environ`; other processes that are started inherit it.
        reproducible: do not let the load of the machine decide, because the number of threads
            changes the rounding of sums, and a training must give the same weights again.
    """
    environment.setdefault(WAIT_POLICY, "PASSIVE")
    environment.setdefault(THREADS, str(usable_cores() if reproducible else free_cores()))


def openmp_threads(environment: Mapping[str, str]) -> int:
    """Return the number of threads that is set for OpenMP, else that of the usable cores.

    torch follows the same setting; ONNX Runtime does not, and would ignore quotas, too.
    """
    first = environment.get(THREADS, "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else usable_cores()


def usable_cores(root: Path = Path("/")) -> int:
    """Return the number of cores that this process may use: its affinity and its cgroup's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _quota(root))))


def free_cores(root: Path = Path("/")) -> int:
    """Return the number of usable cores that other processes leave idle, at least 1.

    Processes are busy if they run now and did so in the last minute: one thread too many costs less
    time than many too few.
    """
    try:
        load, _, _, running = (root / "proc/loadavg").read_text("utf-8").split()[:4]
        busy = min(round(float(load)), int(running.partition("/")[0]) - 1)  # less this process
    except (OSError, ValueError):
        busy = round(os.getloadavg()[0]) if hasattr(os, "getloadavg") else 0
    return max(1, min(usable_cores(root), (os.cpu_count() or 1) - busy))


def _quota(root: Path) -> float:
    """Return the smallest number of cores that a cgroup above this process grants."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        return math.inf
    quotas = [math.inf]
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            places = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            places = [root / "sys/fs/cgroup/cpu", root / "sys/fs/cgroup/cpu,cpuacct"]
        else:
            continue
        for place in places:
            folder = place / group.lstrip("/")
            quotas += [
                _granted(one) for one in (folder, *folder.parents) if one.is_relative_to(place)
            ]
    return min(quotas)


def _granted(folder: Path) -> float:
    """Return the cores that one cgroup grants, by version 2 or version 1 of cgroups."""
    for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        try:
            words = " ".join((folder / name).read_text("utf-8") for name in names).split()
            quota, period = float(words[0]), float(words[1])
        except (OSError, ValueError, IndexError):  # no such file, or "max"
            continue
        if quota > 0 and period > 0:
            return quota / period
    return math.inf
