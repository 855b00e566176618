"""Is what the registry points to still there? Asked politely, and remembered.

One host is asked one thing at a time, a few hosts at once. A page is asked for its head, a file for
its first bytes: a login page that calls itself a success is kept apart from the file it stands for.
The answers lie in reports/links.json; `results.load_links` is how everybody else reads them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.checkpoints import Policy, RemoteFile, parse_source
from harness.errors import RegistryError
from harness.results import Kind, Link
from harness.system import Progress, Silent


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How a host is treated."""

    connect_timeout_s: float = 10.0
    read_timeout_s: float = 20.0
    hosts_at_once: int = 6
    pause_s: float = 0.5  # between two questions to one host


def probe_links(
    wanted: Mapping[str, Kind],
    limits: RateLimits = RateLimits(),  # noqa: B008  # frozen
    progress: Progress | None = None,
) -> dict[str, Link]:
    """Ask every address once; address -> answer, in the order given. Never raises for an answer."""
    from concurrent.futures import ThreadPoolExecutor

    bars = progress or Silent()
    bars.stage("links", total=len(wanted))
    by_host: dict[str, list[str]] = {}
    for address in wanted:
        by_host.setdefault(_remote(address).host, []).append(address)
    timeout_s = (limits.connect_timeout_s, limits.read_timeout_s)
    found: dict[str, Link] = {}

    def ask_host(mine: list[str]) -> dict[str, Link]:
        answers = {}
        for i, address in enumerate(mine):
            if i:
                time.sleep(limits.pause_s)
            answers[address] = _remote(address).probe(wanted[address], timeout_s)
            bars.advance()
        return answers

    with ThreadPoolExecutor(max_workers=limits.hosts_at_once) as pool:
        for answers in pool.map(ask_host, by_host.values()):
            found |= answers
    return {address: found[address] for address in wanted}


def fetch_link(source: str, file: Path, attempts: int = 2) -> None:
    """Fill `file` with what lies at a link. Raises CheckpointUnavailable or NotACheckpoint."""
    patience = Policy(attempts=attempts)
    _remote(source).receive(file, patience, patience.max_bytes)


def _remote(address: str) -> RemoteFile:
    source = parse_source(address)
    if not isinstance(source, RemoteFile):
        raise RegistryError(f"{address!r} is no link: nobody can be asked for it")
    return source
