"""Once, recognition beside another program took four times as long with the default threads as with
one, because OpenMP's threads spin while they wait, and all cores were taken for free."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyframe_asr.io.threads import THREADS, WAIT_POLICY, free_cores, set_openmp, usable_cores

CORES = os.cpu_count() or 1
SHOW = """
import json, os, sys, typer
from keyframe_asr.cli import main
def show():
    found = ["torch" in sys.modules, *map(os.environ.get, ("OMP_WAIT_POLICY", "OMP_NUM_THREADS"))]
    import torch
    print(json.dumps([*found, torch.get_num_threads()]))
command = typer.main.get_command(main.app)
verb = command.commands[sys.argv[1]]
verb.params, verb.callback = [], show
main.main(command)
"""
"""The command line with a verb that shows what it was started with."""


def test_threads_sleep_while_they_wait() -> None:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OMP_")}
    kept["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", SHOW, "transcribe"]
    done = subprocess.run(command, env=kept, capture_output=True, check=True)
    imported, policy, threads, used = json.loads(done.stdout)
    assert (imported, policy) == (False, "PASSIVE")
    assert 1 <= int(threads) == used <= usable_cores()


def test_what_is_set_is_kept() -> None:
    given = {WAIT_POLICY: "ACTIVE", THREADS: "7"}
    set_openmp(given)
    assert given == {WAIT_POLICY: "ACTIVE", THREADS: "7"}


def machine(root: Path, files: dict[str, str]) -> Path:
    """A tree with these files of /proc and /sys."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("load", "free"),
    [
        ("0.00 0.10 0.10 1/99 7", CORES),
        (f"{CORES}.00 9.00 9.00 {CORES + 1}/99 7", 1),
        (f"{CORES}.00 9.00 9.00 1/99 7", CORES),  # has just ended
        (f"0.10 9.00 9.00 {CORES + 1}/99 7", CORES),  # has just begun
        ("900.0 900.0 900.0 900/999 7", 1),
    ],
)
def test_the_load_decides(tmp_path: Path, load: str, free: int) -> None:
    root = machine(tmp_path, {"proc/loadavg": load})
    assert free_cores(root) == min(free, usable_cores())


def test_a_training_does_not_depend_on_the_load() -> None:
    chosen: dict[str, str] = {}
    set_openmp(chosen, reproducible=True)
    assert chosen[THREADS] == str(usable_cores())


@pytest.mark.parametrize(
    ("group", "folder", "files"),
    [
        ("0::/a/b", "sys/fs/cgroup/a", {"cpu.max": "100000 100000\n"}),
        ("0::/a/b", "sys/fs/cgroup/a/b", {"cpu.max": "50000 100000\n"}),
        ("0::/", "sys/fs/cgroup", {"cpu.max": "100000 100000\n"}),
        (
            "3:cpu,cpuacct:/a",
            "sys/fs/cgroup/cpu,cpuacct/a",
            {"cpu.cfs_quota_us": "100000\n", "cpu.cfs_period_us": "100000\n"},
        ),
    ],
)
def test_the_quota_of_a_container_is_kept(
    tmp_path: Path, group: str, folder: str, files: dict[str, str]
) -> None:
    found = {f"{folder}/{name}": content for name, content in files.items()}
    found |= {"proc/self/cgroup": f"9:memory:/x\n{group}\n", "proc/loadavg": "0 0 0 1/9 7"}
    machine(tmp_path, found)
    assert usable_cores(tmp_path) == free_cores(tmp_path) == 1


def test_without_a_quota_all_cores_are_used(tmp_path: Path) -> None:
    everything = usable_cores(tmp_path / "nothing")
    machine(tmp_path, {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "max 100000\n"})
    assert usable_cores(tmp_path) == everything >= 1
