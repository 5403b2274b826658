"""What every test shares: where the real recordings are, threads, and how hypothesis runs."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """The same examples on every machine."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # this process only hands out tests to others
    import hypothesis

    hypothesis.settings.register_profile(
        "keyframe",
        deadline=None,
        derandomize=True,
        database=None,
        max_examples=50,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
    hypothesis.settings.load_profile("keyframe")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long starts first: at the end, other processes would have nothing left to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """The same sums on every machine, on one thread, which is best for tensors as small as these.

    Collecting garbage, which accelerate asks for after every stage, passes over all modules.
    """
    import torch

    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def corpus_root() -> Path:
    """Folder of real recordings, one sub-folder a corpus; skips the test where it is absent."""
    root = Path(os.environ.get("KEYFRAME_DATA") or REPOSITORY.parent / "shared" / "data")
    if not root.is_dir():
        pytest.skip(f"no real recordings at {root}; set KEYFRAME_DATA to the folder that has them")
    return root
