"""Every script has a form that takes seconds, runs, and leaves the project as it was."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(
    f"{file.parent.name}.{file.stem}"
    for folder in ("benchmarks", "checkpoints")
    for file in (ROOT / folder).glob("*.py")
    if "__main__" in file.read_text()  # the others are shared by scripts and cannot be run
)
# Above a second; what they call has tests of its own.
SLOW = {
    f"benchmarks.{name}"
    for name in (
        "channel_removal",
        "energy_pruning",
        "ftwt_skip",
        "gpu_session",
        "imagenet_evaluation",
        "imagenet_proof",
        "latency_table",
        "network_macs",
        "never_slower",
        "rate_distortion",
        "snip_gap",
        "sparse_peers",
        "sparse_runtime",
        "training_peers",
    )
}
ON_RECORD = ("reports", "checkpoints", "runs", "cache")


def state() -> dict[str, int]:
    """When what the project keeps, and its top folder's files, were last written."""
    files = [
        f for name in ON_RECORD for f in (ROOT / name).rglob("*") if "__pycache__" not in f.parts
    ]
    files = [f for f in files if f.is_file()]
    return {str(f): f.stat().st_mtime_ns for f in [*files, *ROOT.glob("*.*")] if f.is_file()}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in SCRIPTS]
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_the_small_form_runs_and_nothing_is_put_on_record(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BENCH_HOME", raising=False)
    monkeypatch.delenv("BENCH_DATA_ROOT", raising=False)
    monkeypatch.setattr("sys.argv", [name, "--small"])
    monkeypatch.chdir(ROOT)
    before, threads = state(), torch.get_num_threads()
    try:
        importlib.import_module(name).main()
    finally:
        torch.set_num_threads(threads)
    assert capsys.readouterr().out.strip()
    assert state() == before
    assert "BENCH_HOME" not in os.environ
