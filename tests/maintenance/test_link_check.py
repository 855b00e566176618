"""Links: who is alive, who only says so, who could not be asked."""

from __future__ import annotations

import json
import socket
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from harness import registry
from harness.checkpoints import addresses
from harness.checkpoints.sources import drive
from harness.checkpoints.sources.probing import HEAD_BYTES
from harness.errors import StateWarning
from harness.maintenance import link_check as links
from harness.maintenance.link_check import RateLimits
from harness.results import link_answers
from harness.results.link_answers import Link
from tests.checkpoints.conftest import BIG
from tests.support.server import Answer, Server, reply

QUICK = RateLimits(connect_timeout_s=2, read_timeout_s=2, pause_s=0)
LOGIN = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>password</body></html>"
WARNING = b"<html><title>Google Drive - Virus scan warning</title><form id=download-form>"
QUOTA = b"<html><title>Google Drive - Quota exceeded</title>"


def ask(address: str, kind: link_answers.Kind, limits: RateLimits) -> Link:
    return links.probe_links({address: kind}, limits)[address]


def partly(body: bytes) -> Answer:
    """Send the range that was asked for."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        end = int(handler.headers["Range"].rpartition("-")[2]) + 1
        span = f"bytes 0-{min(end, len(body)) - 1}/{len(body)}"
        reply(body[:end], 206, Content_Range=span)(handler)

    return answer


@pytest.mark.parametrize(
    ("answer", "ok", "status", "told"),
    [
        (reply(BIG), True, 200, f"a file of {len(BIG)} bytes"),
        (partly(BIG), True, 206, f"a file of {len(BIG)} bytes"),
        (reply(b"", 404), False, 404, "HTTP 404 Not Found"),
        (reply(b"", 410), False, 410, "HTTP 410 Gone"),
        (reply(b"", 403), False, 403, "asks for a login"),
        (reply(LOGIN), False, 200, "a login page titled 'Sign in'"),
        (reply(b"version https://git-lfs.github.com/spec/v1\noid"), False, 200, "LFS pointer"),
        (reply(b"rate limited"), False, 200, "plain text"),
        (reply(b""), False, 200, "sent nothing"),
        (reply(WARNING), False, 200, "a virus-scan warning page"),
        (reply(b"", 503), None, 503, "HTTP 503"),
        (reply(b"", 429), None, 429, "HTTP 429"),
    ],
)
def test_a_file_is_alive_only_if_its_bytes_come(
    server: Server, answer: Answer, ok: bool | None, status: int, told: str
) -> None:
    found = ask(server.url("/model.pt", answer), "file", QUICK)
    assert (found.ok, found.status) == (ok, status)
    assert told in found.detail


@pytest.mark.parametrize(
    ("body", "ok", "told"),
    [
        (BIG, True, f"a file of {len(BIG)} bytes"),
        (WARNING, True, "large files on Drive"),  # asks for a click, and then delivers
        (QUOTA, None, "used up for today"),
        (LOGIN, False, "a login page"),
    ],
)
def test_drive_shows_pages_that_are_no_loss(
    server: Server, monkeypatch: pytest.MonkeyPatch, body: bytes, ok: bool | None, told: str
) -> None:
    there = server.url("/uc?id=abc", reply(body))
    monkeypatch.setattr(drive, "ADDRESS", there.removesuffix("abc"))
    found = ask("gdrive:abc", "file", QUICK)
    assert found.ok is ok
    assert told in found.detail


def test_at_most_the_head_of_a_file_is_asked_for(server: Server) -> None:
    assert len(BIG) > HEAD_BYTES
    ask(server.url("/model.pt", partly(BIG)), "file", QUICK)
    assert server.ranges() == [f"bytes=0-{HEAD_BYTES - 1}"]


@pytest.mark.parametrize(
    ("answer", "ok"),
    [(reply(LOGIN), True), (reply(b"", 404), False), (reply(b"", 403), None)],
)
def test_a_page_that_knows_no_head_is_fetched(
    server: Server, answer: Answer, ok: bool | None
) -> None:
    # The test server answers HEAD with 501.
    assert ask(server.url("/paper", answer), "page", QUICK).ok is ok


def test_a_redirect_to_a_login_is_a_dead_file(server: Server) -> None:
    there = server.url("/login", reply(LOGIN))
    found = ask(server.url("/a.pt", reply(b"", 302, Location=there)), "file", QUICK)
    assert found.ok is False and "login page" in found.detail


def test_silence_is_not_death() -> None:
    with socket.socket() as reserved:  # bound, never listening
        reserved.bind(("127.0.0.1", 0))
        found = ask(f"http://127.0.0.1:{reserved.getsockname()[1]}/x", "file", QUICK)
    assert (found.ok, found.status, found.detail) == (None, None, "no connection")


def test_answers_come_back_in_order_and_one_host_is_asked_in_turn(server: Server) -> None:
    wanted: dict[str, link_answers.Kind] = {
        server.url(f"/{i}", reply(BIG if i % 2 else b"", 200 if i % 2 else 404)): "file"
        for i in range(6)
    }
    found = links.probe_links(wanted, QUICK)
    assert list(found) == list(wanted)
    assert [link.ok for link in found.values()] == [False, True] * 3
    assert [path for path, _ in server.seen] == [f"/{i}" for i in range(6)]


def test_saved_answers_are_read_back_and_others_stay(tmp_path: Path) -> None:
    place = tmp_path / "reports" / "links.json"
    old = Link("2026-01-01T00:00:00Z", True, 200, "answers")
    new = Link("2026-01-02T00:00:00Z", False, 404, "HTTP 404 Not Found")
    unknown = Link("2026-01-02T00:00:00Z", None, None, "no connection")
    link_answers.save_links({"https://a.example/": old, "https://b.example/": old}, place)
    link_answers.save_links({"https://b.example/": new, "gdrive:x": unknown}, place)
    assert link_answers.load_links(place) == {
        "https://a.example/": old,
        "https://b.example/": new,
        "gdrive:x": unknown,
    }
    assert json.loads(place.read_text())["links"]["gdrive:x"] == {
        "checked": "2026-01-02T00:00:00Z",
        "ok": None,
        "status": None,
        "detail": "no connection",
    }


def test_no_file_means_that_nothing_was_asked(tmp_path: Path) -> None:
    assert link_answers.load_links(tmp_path / "links.json") == {}


@pytest.mark.parametrize(
    "text",
    ["{", '{"version": 2, "links": {}}', '{"links": {}}', '{"version": 1, "links": {"a": 1}}'],
)
def test_a_damaged_file_says_what_to_do(tmp_path: Path, text: str) -> None:
    place = tmp_path / "links.json"
    place.write_text(text)
    with pytest.warns(StateWarning, match=r"links\.json: not a list .* bench registry links"):
        assert link_answers.load_links(place) == {}


def test_every_published_address_of_the_registry_is_known() -> None:
    known = registry.load()
    found = addresses(known)
    assert found["https://arxiv.org/abs/2106.12379"] == "page"
    assert found["https://github.com/IST-DASLab/ACDC"] == "page"
    drive = "gdrive:13dEj0bSyisrYOhSsYf7mBqv_ixJlCYQa"
    assert found[drive] == "file"
    assert link_answers.entries_with(known, [drive]) == {drive: ["dense-resnet50-str"]}
    assert not any(address.startswith(("data:", "shipped:")) for address in found)
