"""Executors that do the jobs of `tests.launch.tasks`."""

import pytest

from harness.launch import Place, make_executor
from harness.launch import queue as rules


def made(name, folder):
    return make_executor(name, Place("cpu", folder / "logs", "tests.launch.tasks:run"))


@pytest.fixture(params=["inline", "local"])
def executor(request, tmp_path):
    """Each executor that runs on this machine."""
    running = made(request.param, tmp_path)
    yield running
    running.close()


@pytest.fixture
def local(tmp_path):
    running = made("local", tmp_path)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(rules, "BUSY_S", 0.05)
