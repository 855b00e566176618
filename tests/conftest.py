"""One thread per process, a private home, and markers that skip with a reason."""

from __future__ import annotations

import os

# Tiny tensors gain nothing from threads, and two busy pools on two cores lose much. Set before
# torch is imported, so that subprocesses inherit it too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Commands of tests are processes; without its bytecode each would compile the project anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import ipaddress
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.installed import build_wheel, environment
from tests.support.server import Server

LOOPBACK_NAMES = ("localhost", "", None)
# What a subprocess would reach ends at a closed port of this machine, and fails at once.
_NOWHERE = {
    **dict.fromkeys(
        ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
    ),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost,::1"),
}


class NetworkForbidden(BaseException):
    """A test reached for the internet. Not an Exception, so that no handler of ours hides it."""


def _refuse_internet(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: every connection and look-up of this process that is not to itself."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not _is_loopback(host):
        raise NetworkForbidden(f"{event} {host!r}: tests talk to this machine only")


def _is_loopback(host: str | bytes | None) -> bool:
    name = host.decode(errors="replace") if isinstance(host, bytes) else host
    if name in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(str(name)).is_loopback
    except ValueError:
        return False


# A suite started in the background inherits that Ctrl-C and hang-ups are ignored, and so would the
# commands that it stops.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

if not os.environ.get("BENCH_NETWORK_TESTS"):
    os.environ.update(_NOWHERE)
    sys.addaudithook(_refuse_internet)

# The same examples on every machine, and no deadline that a busy one could miss.
settings.register_profile("project", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def _private_home() -> Iterator[None]:
    """No test writes into the clone: home is a temporary folder unless a test sets its own.

    Nor do they see the project's results: the record is an empty folder.
    """
    before = {name: os.environ.get(name) for name in ("BENCH_HOME", "BENCH_RECORD")}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENCH_HOME"] = f"{folder}/home"
        os.environ["BENCH_RECORD"] = f"{folder}/record"
        yield
    for name, value in before.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of the test's own."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the project's wheel, where no clone can be imported.

    $REPRUNE_ENVIRONMENT names one that is there already, such as that of `.ci/wheel`.
    """
    if os.environ.get("REPRUNE_ENVIRONMENT"):
        return Path(os.environ["REPRUNE_ENVIRONMENT"]) / "bin"
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("installed")
    return environment(folder / "environment", [build_wheel(folder)])


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine, stopped afterwards."""
    running = Server()
    yield running
    running.close()


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
