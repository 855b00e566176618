"""Real data below BENCH_DATA_ROOT, or a skip that says what is missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def real() -> Callable[[str], Path]:
    """Call with a path below the data root: returns the root, or skips when it lacks the path."""

    def root_with(path: str) -> Path:
        root = os.environ.get("BENCH_DATA_ROOT")
        if not root:
            pytest.skip("BENCH_DATA_ROOT is not set")
        if not (Path(root) / path).exists():
            pytest.skip(f"{path} is not below BENCH_DATA_ROOT")
        return Path(root)

    return root_with
