"""What the processes of a training tell one another beside gradients: results of writes, failures.

It goes through the store at which torchrun lets processes meet. Unlike an exchange of tensors,
waiting there has no limit of time, and a process that fails reaches others that wait for its
gradients: with NCCL these would wait for ten minutes, and then know no reason.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from torch.distributed import (  # type: ignore[attr-defined]
    DistError,
    PrefixStore,
    TCPStore,
)

from keyframe_asr.errors import TrainingError

LOST = "another process of this training has stopped; see its message, then continue with --resume"

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 5.0
"""Time for other processes to hear of a failure, and for this one to end after another's."""

_FAILURE, _HEARD = "failure", "heard"
_trainings = itertools.count()


class Peers:
    """The other processes of a training, all of which make this object in the same order.

    A thread looks for failures of others, and ends this process if nothing else does.

    Args:
        count: number of processes.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        prefix = f"keyframe/{attempt}/{next(_trainings)}"
        self._store, self._watched = _store(prefix), _store(prefix)
        self._told, self._ended = threading.Event(), threading.Event()
        self._message = LOST

    def watch(self) -> None:
        """Begin to look for failures."""
        threading.Thread(target=self._watch, daemon=True).start()

    def tell(self, key: str, value: str) -> None:
        """Tell all processes a value."""
        self._store.set(key, value)

    def hear(self, key: str) -> str:
        """Wait until a process tells the value.

        Raises:
            TrainingError: another process failed or stopped; with its message if it left one.
        """
        self._wait_until(lambda: self._store.check([key]))
        return self._store.get(key).decode()

    def meet(self, key: str) -> None:
        """Wait until all processes are here. Raises as `hear`."""
        self._store.add(key, 1)
        self._wait_until(lambda: self._store.add(key, 0) == self._count)

    def _wait_until(self, is_done: Callable[[], bool]) -> None:
        pause = 0.01
        try:
            while not is_done():
                if self._told.wait(pause):
                    raise self.failure()
                pause = min(2 * pause, SECONDS_BETWEEN_LOOKS)
        except DistError:
            raise self.failure() from None

    def failure(self) -> TrainingError:
        """The error of a process that lost another, with the other's message if it left one."""
        self._told.wait(2 * SECONDS_BETWEEN_LOOKS)
        return TrainingError(self._message)

    def fail(self, message: str) -> None:
        """Tell the others why this process stops, and wait until they have heard it."""
        until = time.monotonic() + SECONDS_TO_END
        with suppress(DistError):  # the process that keeps the store is gone
            self._store.compare_set(_FAILURE, "", message)
            while self._store.add(_HEARD, 0) < self._count and time.monotonic() < until:
                time.sleep(SECONDS_BETWEEN_LOOKS / 10)

    def end(self) -> None:
        """Stop looking for failures."""
        self._ended.set()

    def _watch(self) -> None:
        try:
            while not self._watched.check([_FAILURE]):
                if self._ended.wait(SECONDS_BETWEEN_LOOKS):
                    return
            self._message = self._watched.get(_FAILURE).decode()
            self._told.set()
            self._watched.add(_HEARD, 1)
        except DistError:
            self._told.set()
        if not self._ended.wait(SECONDS_TO_END):  # it waits for an exchange that will never come
            print(f"keyframe: error: {self._message}", file=sys.stderr, flush=True)
            os._exit(1)


def _store(prefix: str) -> PrefixStore:
    """A connection of its own: one that waits holds up all others that use it."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return PrefixStore(prefix, TCPStore(host, port, is_master=False))
