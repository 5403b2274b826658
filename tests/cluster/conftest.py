"""A simulated cluster that all tests of one process share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from fixtures.server import SOURCE


@pytest.fixture(scope="package")
def cluster() -> Iterator[Any]:
    """A head with two cores; tests may add machines."""
    from ray.cluster_utils import Cluster

    from keyframe_asr.cluster import ray_engine  # noqa: F401  (Ray is quiet)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SOURCE), str(SOURCE.parent / "tests")]))
        running = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
        )
        yield running
        running.shutdown()
