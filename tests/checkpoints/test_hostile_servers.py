"""Servers that answer nonsense: a download, the next mirror, or one line; never anything else."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from harness.checkpoints import obtain
from harness.checkpoints.downloading import Connection, Policy
from harness.errors import CheckpointError, CheckpointUnavailable
from tests.checkpoints.conftest import BIG, FAST, SMALL, files_below, make_entry
from tests.checkpoints.hostile_answers import MANY, ODD, WHOLE, raw
from tests.support.server import Server, reply


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_answer_is_one_line_and_the_next_mirror_gets_its_chance(
    home: Path, server: Server, odd: str
) -> None:
    once = Policy(attempts=2, backoff_s=0, read_timeout_s=2)
    url = server.url("/odd", ODD[odd])
    with pytest.raises(CheckpointError) as caught:
        obtain(make_entry(url), policy=once)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 600
    assert files_below(home) == []
    good = server.url("/good", reply(SMALL))
    assert obtain(make_entry(url, good), policy=once).source == good


@pytest.mark.parametrize("url", ["http://[::1/f", "http://.example/f", f"http://{'a' * 70}.b/f"])
def test_a_source_with_an_odd_address_is_one_line(home: Path, url: str) -> None:
    with pytest.raises(CheckpointUnavailable) as caught:
        obtain(make_entry(url), policy=FAST)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("length", ["\u00b2", MANY, "-5", "0x10"])
def test_an_odd_length_is_not_believed(home: Path, server: Server, length: str) -> None:
    answer = raw(b"HTTP/1.1 200 OK", b"Content-Length: " + length.encode("latin-1"), body=SMALL)
    obtain(make_entry(server.url("/f", answer)), policy=FAST)


def test_the_whole_file_may_come_as_a_part(home: Path, server: Server) -> None:
    obtain(make_entry(server.url("/f", reply(SMALL, 206, Content_Range=WHOLE))), policy=FAST)


def test_a_part_of_another_file_is_not_appended(home: Path, server: Server) -> None:
    broken = reply(b"\0" * len(BIG), sent=150_000, ETag='"old"')

    def other(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        span = f"bytes {start}-{len(BIG) - 1}/{len(BIG)}"
        reply(BIG[start:], 206, ETag='"new"', Content_Range=span)(handler)

    entry = make_entry(server.url("/f", broken, other, reply(BIG)))
    assert obtain(entry, policy=FAST).size_bytes == len(BIG)
    assert server.ranges()[2] is None


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def test_a_host_is_left_alone_as_long_as_it_asks(
    home: Path, server: Server, pauses: list[float]
) -> None:
    busy = reply(b"", 429, Retry_After="7")
    obtain(make_entry(server.url("/f", busy, reply(SMALL))), policy=Policy(backoff_s=0.5))
    assert pauses == [7.0]


@pytest.mark.parametrize("when", ["86400", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_a_host_that_asks_for_too_long_a_pause_is_given_up(
    home: Path, server: Server, pauses: list[float], when: str
) -> None:
    with pytest.raises(CheckpointUnavailable, match="HTTP 503 .*; it asks for a pause of [0-9]+ s"):
        obtain(make_entry(server.url("/f", reply(b"", 503, Retry_After=when))), policy=FAST)
    assert (pauses, len(server.seen)) == ([], 1)


@pytest.mark.parametrize("when", ["soon", "-3", MANY, "Fri, 31 Dec 1999 23:59:59 GMT", "\u00b2"])
def test_a_pause_that_says_nothing_changes_nothing(
    home: Path, server: Server, pauses: list[float], when: str
) -> None:
    busy = reply(b"", 503, Retry_After=when)
    obtain(make_entry(server.url("/f", busy, reply(SMALL))), policy=Policy(backoff_s=0.5))
    assert pauses == [0.5]


def test_drop_by_drop_has_an_end(home: Path, server: Server) -> None:
    def drops(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(100):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return
            time.sleep(0.05)

    hurried = Policy(grace_s=0.2, least_bytes_per_s=1000)
    with pytest.raises(CheckpointUnavailable, match="too slow: [0-9]+ bytes in 0 s"):
        obtain(make_entry(server.url("/f", drops)), policy=hurried)
    assert files_below(home) == []


def addresses_of(names: dict[str, str]) -> Callable[..., list[tuple[object, ...]]]:
    def lookup(host: str, *_: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (names[host], 0))]

    return lookup


@pytest.mark.parametrize(
    ("first", "second", "refused"),
    [
        ("93.184.216.34", "127.0.0.1", True),
        ("93.184.216.34", "10.0.0.5", True),
        ("93.184.216.34", "169.254.169.254", True),
        ("93.184.216.34", "1.1.1.1", False),
        ("127.0.0.1", "10.0.0.5", False),
    ],
)
def test_a_public_host_leads_to_no_private_one(
    server: Server, monkeypatch: pytest.MonkeyPatch, first: str, second: str, refused: bool
) -> None:
    import requests

    answer = requests.Response()
    answer.status_code, answer.url, answer.raw = 302, "http://one.example/f", io.BytesIO()
    answer.headers["Location"] = "//two.example/x"
    names = {"one.example": first, "two.example": second}
    monkeypatch.setattr(socket, "getaddrinfo", addresses_of(names))
    if not refused:
        assert Connection().get_redirect_target(answer) == "//two.example/x"
        return
    with pytest.raises(CheckpointUnavailable, match="redirects to an address of this private net"):
        Connection().get_redirect_target(answer)
