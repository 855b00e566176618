"""Files of a model hub and of Zenodo, against a local server that answers as those do, or badly."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from harness.checkpoints import downloading, obtain
from harness.checkpoints.sources import parse_source, zenodo
from harness.errors import CheckpointError, CheckpointUnavailable, HashMismatch, NotACheckpoint
from harness.registry.entries import Checkpoint
from harness.registry.fields import Fault
from tests.checkpoints.conftest import BIG, FAST, SMALL, files_below, make_entry
from tests.checkpoints.hostile_answers import ODD
from tests.support.server import Server, ranged, reply

CUT = 150_000  # bytes; BIG has more
HUB = "hf:a-lab/small-nets/nets/net_1.pt@v1.0"
HUB_PATH = "/a-lab/small-nets/resolve/v1.0/nets/net_1.pt"
DOI = "doi:10.5281/zenodo.1234567/net.pt"
RECORD, FILE = "/api/records/1234567", "/records/1234567/files/net.pt?download=1"


@pytest.fixture
def hosts(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The local server in the place of both."""
    here = server.url("/").rstrip("/")
    monkeypatch.setenv("HF_ENDPOINT", here)
    monkeypatch.setattr(zenodo, "HOST", here)
    return server


def record(body: bytes, **changed: Any) -> bytes:
    """What Zenodo's API says of a record with one file."""
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    file = {"key": "net.pt", "size": len(body), "checksum": f"md5:{md5}", "links": {}}
    return json.dumps({"id": 1234567, "files": [file | changed]}).encode()


def test_a_source_names_what_a_browser_opens() -> None:
    hub = parse_source("hf:org/name/sub/net.safetensors@0123abc")
    assert hub.address == "https://huggingface.co/org/name/resolve/0123abc/sub/net.safetensors"
    assert (hub.label, parse_source(DOI).label) == ("huggingface.co", "zenodo.org")
    assert parse_source(DOI).address == f"https://zenodo.org{FILE}"


def test_a_file_of_the_hub_is_taken_pinned_and_pinned_for_good(home: Path, hosts: Server) -> None:
    hosts.url(HUB_PATH, reply(SMALL))
    got = obtain(make_entry(HUB), policy=FAST)
    sha256 = hashlib.sha256(SMALL).hexdigest()
    assert (got.source, got.sha256) == (HUB, sha256)
    assert (home / "registry.lock").read_text().splitlines()[1:] == [f"{sha256}  dense-tiny  {HUB}"]
    for file in (home / "checkpoints").rglob("*.*"):
        file.unlink()
    hosts.url(HUB_PATH, reply(BIG))  # the branch moved
    with pytest.raises(HashMismatch, match="registry.lock"):
        obtain(make_entry(HUB), policy=FAST)


@pytest.mark.parametrize(("source", "path"), [(HUB, HUB_PATH), (DOI, FILE)])
def test_a_broken_download_is_continued(home: Path, hosts: Server, source: str, path: str) -> None:
    hosts.url(RECORD, reply(record(BIG)))
    hosts.url(path, reply(BIG, sent=CUT, ETag='"v1"'), ranged(BIG))
    assert obtain(make_entry(source), policy=FAST).sha256 == hashlib.sha256(BIG).hexdigest()
    assert f"bytes={CUT}-" in hosts.ranges()
    assert not list((home / "checkpoints").rglob("*.part*"))


def test_a_file_of_zenodo_is_looked_up_by_its_name_and_md5(home: Path, hosts: Server) -> None:
    hosts.url(RECORD, reply(record(SMALL)))
    hosts.url(FILE, reply(SMALL))
    got = obtain(make_entry(DOI), policy=FAST)
    assert (got.source, got.sha256) == (DOI, hashlib.sha256(SMALL).hexdigest())
    assert [path for path, _ in hosts.seen] == [RECORD, FILE]


def test_other_bytes_than_the_records_are_refused(home: Path, hosts: Server) -> None:
    hosts.url(RECORD, reply(record(BIG, size=len(SMALL))))
    hosts.url(FILE, reply(SMALL))
    with pytest.raises(HashMismatch, match=r"127\.0\.0\.1: its record says md5 [0-9a-f]{32}, got"):
        obtain(make_entry(DOI), policy=FAST)
    assert files_below(home) == []


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (reply(record(SMALL, key="other.pt")), "lists no file 'net.pt'; its files: other.pt"),
        (reply(record(SMALL, size=3 * 1024**3)), "lists 3221225472 bytes, at most"),
        (reply(record(SMALL, checksum="sha1:00")), "not one of files (net.pt: no md5)"),
        (reply(record(SMALL, size=True)), "not one of files"),
        (reply(b'{"files": 7}'), "not one of files"),
        (reply(b"[]"), "not one of files (no JSON object)"),
        (reply(b"<html>"), "not one of files"),
        (reply(b" " * (zenodo.RECORD_BYTES + 1)), "bytes announced, at most"),
        (reply(b"gone", 410), "HTTP 410"),
    ],
)
def test_a_record_that_does_not_have_it_is_one_line(
    home: Path, hosts: Server, answer: Any, said: str
) -> None:
    hosts.url(RECORD, answer)
    with pytest.raises(CheckpointUnavailable) as caught:
        obtain(make_entry(DOI), policy=FAST)
    assert said in str(caught.value) and str(caught.value).isprintable()
    assert files_below(home) == []
    assert FILE not in [path for path, _ in hosts.seen]  # nothing was downloaded


@pytest.mark.parametrize("odd", sorted(ODD)[::4])
def test_odd_answers_of_both_are_one_line(home: Path, hosts: Server, odd: str) -> None:
    hosts.url(HUB_PATH, ODD[odd])
    hosts.url(RECORD, ODD[odd])
    for source in (HUB, DOI):
        with pytest.raises(CheckpointError) as caught:
            obtain(make_entry(source), policy=FAST)
        assert str(caught.value).isprintable()
    assert files_below(home) == []


def test_a_login_page_of_the_hub_is_no_checkpoint(home: Path, hosts: Server) -> None:
    hosts.url(HUB_PATH, reply(b"<!DOCTYPE html><html><title>Log in</title></html>"))
    with pytest.raises(NotACheckpoint, match="HTML"):
        obtain(make_entry(HUB), policy=FAST)


@pytest.mark.parametrize(
    "source",
    [
        "hf:org/net.pt@main",
        "hf:org/name/net.pt",
        "hf:org/name/../../x@main",
        "hf:org/name/net.pt@a/b",
        "hf:../name/net.pt@main",
        "doi:10.5281/zenodo.12",
        "doi:10.5281/zenodo.x/net.pt",
        "doi:10.1000/182/net.pt",
        "doi:10.5281/zenodo.12/../../admin",
    ],
)
def test_a_source_that_names_no_file_is_refused_by_the_registry(source: str) -> None:
    with pytest.raises(Fault, match="is not a source; forms: .*hf:ORG/NAME/FILE@REVISION"):
        Checkpoint((source,), "plain")


def test_offline_nobody_is_asked(home: Path, hosts: Server) -> None:
    with pytest.raises(CheckpointUnavailable, match="not asked"):
        obtain(make_entry(HUB, DOI), policy=FAST, offline=True)
    assert hosts.seen == []


@pytest.mark.parametrize(("source", "path"), [(HUB, HUB_PATH), (DOI, RECORD), (DOI, FILE)])
def test_neither_leads_to_a_private_address(
    home: Path, hosts: Server, monkeypatch: pytest.MonkeyPatch, source: str, path: str
) -> None:
    hosts.url(RECORD, reply(record(SMALL)))
    hosts.url(path, reply(b"", 302, Location="http://inside.example/f"))
    monkeypatch.setattr(downloading, "_is_private", lambda url: "inside.example" in url)
    with pytest.raises(CheckpointUnavailable, match="redirects to an address of this private net"):
        obtain(make_entry(source), policy=FAST)
    assert files_below(home) == []
