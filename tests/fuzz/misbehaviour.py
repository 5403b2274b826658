"""What no command should do, to test that it is found."""

from __future__ import annotations

import faulthandler
import time
from pathlib import Path

from fuzz.child import Job, Outcome


def misbehave(job: Job, folder: Path) -> Outcome:
    """Hang, crash or raise an error, as the arguments say."""
    del folder
    if job.arguments == ("hang",):
        sleep_long()
    elif job.arguments == ("compute",):
        compute_long()
    elif job.arguments == ("crash",):
        crash()
    raise ZeroDivisionError("by nothing")


def sleep_long() -> None:
    """Do nothing for a minute."""
    time.sleep(60)


def compute_long() -> None:
    """Compute for a minute."""
    end = time.process_time() + 60
    while time.process_time() < end:
        pass


def crash() -> None:
    """End the process as a fault in C code does."""
    faulthandler._sigsegv()  # type: ignore[attr-defined]
