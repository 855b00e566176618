"""One thread per process, a private home, and markers that skip with a reason."""

from __future__ import annotations

import os

# Tiny tensors gain nothing from threads, and two busy pools on two cores lose much. Set before
# torch is imported, so that subprocesses inherit it too.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every machine, and no deadline that a busy one could miss.
settings.register_profile("project", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def _private_home() -> Iterator[None]:
    """No test writes into the clone: home is a temporary folder unless a test sets its own."""
    before = os.environ.get("BENCH_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENCH_HOME"] = folder
        yield
    os.environ.pop("BENCH_HOME")
    if before is not None:
        os.environ["BENCH_HOME"] = before


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason."""
    root = os.environ.get("BENCH_DATA_ROOT")
    for item in items:
        if item.get_closest_marker("realdata") and not (root and Path(root).is_dir()):
            reason = "needs real data: set BENCH_DATA_ROOT to a folder that holds it"
            item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("gpu") and not _gpu():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if item.get_closest_marker("network") and not os.environ.get("BENCH_NETWORK_TESTS"):
            item.add_marker(
                pytest.mark.skip(reason="needs the internet: set BENCH_NETWORK_TESTS=1")
            )


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()
