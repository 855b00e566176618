"""A scripted local server, a home folder of its own for every test, and small entries."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.checkpoints.downloading import Policy
from harness.registry.entries import Checkpoint, Entry

FAST = Policy(attempts=3, backoff_s=0.0, connect_timeout_s=2.0, read_timeout_s=2.0)


@pytest.fixture
def home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, and a data root that is not there."""
    monkeypatch.setenv("BENCH_DATA_ROOT", str(tmp_path / "data"))
    return home


def files_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def make_entry(
    *sources: str, format: str = "plain", recipe: str | None = None, **facts: Any
) -> Entry:
    return Entry(
        id="dense-tiny",
        paper="p",
        method="dense",
        model="tiny",
        dataset="cifar10",
        evaluation="e",
        recipe=recipe,
        checkpoint=Checkpoint(sources, format, **facts),
    )


def saved(content: Any, legacy: bool = False) -> bytes:
    """What torch.save writes, as bytes."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def tiny_state(size: int = 4) -> dict[str, torch.Tensor]:
    return {
        "fc.weight": torch.arange(float(size * size)).view(size, size),
        "fc.bias": torch.ones(size),
    }


# large enough that a broken connection leaves something to continue
BIG_STATE = tiny_state(256)
BIG = saved({"state_dict": {f"module.{k}": v for k, v in BIG_STATE.items()}, "epoch": 7})
SMALL = saved(tiny_state())
