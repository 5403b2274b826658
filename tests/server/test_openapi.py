"""Requests that schemathesis makes from the description of the routes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from fixtures.server import running_server


def test_no_request_breaks_the_server(tmp_path: Path) -> None:
    with running_server("demo", options=("--max-requests", "100")) as server:
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            *("run", f"{server.url}/openapi.json", "--max-examples", "20", "--seed", "1"),
            # random bytes fit the description of a recording, and are refused
            *("--exclude-checks", "positive_data_acceptance", "--request-timeout", "30"),
        ]
        found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert found.returncode == 0, found.stdout
        assert len(server.children()) == 2
