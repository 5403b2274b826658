"""Once, the processes of `--workers` and `--jobs` waited for ever when the command was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from fixtures.server import SOURCE

WORK = """
import multiprocessing, time
from keyframe_asr.data.parallel import each
if __name__ == "__main__":
    results = each(time.sleep, [0.0, 0.0, 600.0, 600.0], 2, chunk=1)
    next(results)
    print(*[one.pid for one in multiprocessing.active_children()], flush=True)
    next(results)
    next(results)
"""


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "work.py"
    script.write_text(WORK, encoding="utf-8")
    started = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    workers = [int(pid) for pid in started.stdout.readline().split()]
    assert len(workers) == 2 and all(map(is_running, workers))
    started.kill()
    started.wait()
    until = time.monotonic() + 30
    while any(map(is_running, workers)):
        assert time.monotonic() < until
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    """True for a process that is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
