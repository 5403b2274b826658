"""A server that all tests of one process share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fixtures.server import RunningServer, running_server


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """Serves `demo`, the default, and `demo-streaming`; it must not log a traceback."""
    flags = ("--max-streams", "64")  # a client that leaves keeps its place for a moment
    with running_server("demo", "demo-streaming", options=flags) as running:
        yield running
        assert running.process.poll() is None
    assert not [line for line in running.log if "Traceback" in line]
