"""Downloads against a local server: the right error, the right retry, nothing left behind."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from pathlib import Path
from typing import Any

import gdown
import gdown.exceptions
import pytest
import torch

from harness.checkpoints import obtain
from harness.checkpoints.downloading import Policy
from harness.errors import CheckpointError, CheckpointUnavailable, HashMismatch, NotACheckpoint
from tests.checkpoints.conftest import BIG, BIG_STATE, FAST, SMALL, files_below, make_entry
from tests.support.server import Server, ranged, reply

CUT = 150_000  # bytes; BIG has more


class Recorder:
    """A progress bar that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int | None]] = []
        self.done = 0

    def stage(self, text: str, total: int | None = None) -> None:
        self.stages.append((text, total))
        self.done = 0

    def advance(self, amount: int = 1, **facts: float) -> None:
        self.done += amount

    def note(self, text: str) -> None:
        raise AssertionError("nothing to note")


def part_files(home: Path) -> list[Path]:
    return sorted((home / "checkpoints" / "dense-tiny").glob("*.part*"))


def test_good_download_is_converted_pinned_and_described(home: Path, server: Server) -> None:
    stamp = "Wed, 21 Oct 2020 07:28:00 GMT"
    url = server.url("/good.pth", reply(BIG, Last_Modified=stamp))
    got = obtain(make_entry(url, license="MIT"), policy=FAST)
    sha256 = hashlib.sha256(BIG).hexdigest()
    assert got.path == home / "checkpoints" / "dense-tiny" / f"{sha256[:16]}.safetensors"
    assert (got.sha256, got.size_bytes, got.source) == (sha256, len(BIG), url)
    assert (got.last_modified, got.license, got.stated) == (stamp, "MIT", {"epoch": 7})
    assert got.converted_sha256 == hashlib.sha256(got.path.read_bytes()).hexdigest()
    assert json.loads(got.path.with_suffix(".json").read_text()) == got.provenance()
    assert (home / "registry.lock").read_text().splitlines()[1:] == [f"{sha256}  dense-tiny  {url}"]
    assert len(files_below(home)) == 3
    tensors = got.tensors()
    assert tensors.keys() == BIG_STATE.keys()
    assert all(torch.equal(tensors[name], value) for name, value in BIG_STATE.items())


def test_second_obtain_asks_nobody(home: Path, server: Server) -> None:
    entry = make_entry(server.url("/f", reply(SMALL)))
    first = obtain(entry, policy=FAST)
    again = obtain(entry, policy=FAST)
    assert (first.reused, again.reused, len(server.seen)) == (False, True, 1)
    assert first.provenance() == again.provenance()


def test_progress_counts_bytes_of_one_stage(home: Path, server: Server) -> None:
    bar = Recorder()
    obtain(make_entry(server.url("/f", reply(BIG))), policy=FAST, progress=bar)
    assert bar.stages == [("download from 127.0.0.1", len(BIG))]
    assert bar.done == len(BIG)


def test_server_error_is_tried_again(home: Path, server: Server) -> None:
    obtain(make_entry(server.url("/f", reply(b"", 500), reply(SMALL))), policy=FAST)
    assert len(server.seen) == 2


def test_pause_doubles_between_attempts(
    home: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    patient = Policy(attempts=4, backoff_s=0.5)
    with pytest.raises(CheckpointUnavailable):
        obtain(make_entry(server.url("/f", reply(b"", 500))), policy=patient)
    assert pauses == [0.5, 1.0, 2.0]


def test_server_errors_without_end_stop_after_the_attempts(home: Path, server: Server) -> None:
    with pytest.raises(CheckpointUnavailable, match=r"HTTP 503 .*\(3 attempts\)"):
        obtain(make_entry(server.url("/f", reply(b"", 503))), policy=FAST)
    assert len(server.seen) == FAST.attempts
    assert files_below(home) == []


def test_not_found_is_not_tried_again(home: Path, server: Server) -> None:
    with pytest.raises(CheckpointUnavailable) as caught:
        obtain(make_entry(server.url("/secret/f", reply(b"gone", 404)), recipe="r"), policy=FAST)
    text = str(caught.value)
    assert text.startswith("dense-tiny: ")
    assert "127.0.0.1: HTTP 404 Not Found" in text
    assert "/secret" not in text  # host name only
    assert "bench pull dense-tiny --from FILE" in text
    assert "bench reproduce dense-tiny --mode train" in text
    assert len(server.seen) == 1
    assert files_below(home) == []


def test_html_page_is_named_with_its_kind(home: Path, server: Server) -> None:
    page = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>login</body></html>"
    with pytest.raises(NotACheckpoint, match=r"HTML .*a login page titled 'Sign in'.*--from FILE"):
        obtain(make_entry(server.url("/f", reply(page))), policy=FAST)
    assert files_below(home) == []


def test_page_longer_than_the_known_size_is_still_recognised(home: Path, server: Server) -> None:
    page = b"<html><body>Quota exceeded" + b" " * 5000
    with pytest.raises(NotACheckpoint, match="a download-quota page"):
        obtain(make_entry(server.url("/f", reply(page)), size_bytes=1000), policy=FAST)


def test_wrong_hash_shows_both_sides(home: Path, server: Server) -> None:
    url = server.url("/f", reply(SMALL))
    with pytest.raises(HashMismatch) as caught:
        obtain(make_entry(url, sha256="ab" * 32), policy=FAST)
    assert "ab" * 32 in str(caught.value)
    assert hashlib.sha256(SMALL).hexdigest() in str(caught.value)
    assert files_below(home) == []


def test_changed_file_fails_against_the_pin_of_the_first_download(
    home: Path, server: Server
) -> None:
    entry = make_entry(server.url("/f", reply(SMALL), reply(BIG)))
    obtain(entry, policy=FAST).path.unlink()
    with pytest.raises(HashMismatch, match=r"registry\.lock \(first seen at http"):
        obtain(entry, policy=FAST)


def test_redirect_is_followed(home: Path, server: Server) -> None:
    target = server.url("/real", reply(SMALL))
    obtain(make_entry(server.url("/f", reply(b"", 302, Location=target))), policy=FAST)
    assert [path for path, _ in server.seen] == ["/f", "/real"]


def test_redirect_to_a_local_file_is_refused(home: Path, server: Server, tmp_path: Path) -> None:
    (tmp_path / "bait.pth").write_bytes(SMALL)
    url = server.url("/f", reply(b"", 302, Location=(tmp_path / "bait.pth").as_uri()))
    with pytest.raises(CheckpointUnavailable, match="InvalidSchema"):
        obtain(make_entry(url), policy=FAST)
    assert len(server.seen) == 1
    assert files_below(home) == []


def test_body_shorter_than_announced_is_truncated_and_removed(home: Path, server: Server) -> None:
    with pytest.raises(NotACheckpoint, match="truncated"):
        obtain(make_entry(server.url("/f", reply(BIG, sent=CUT))), policy=FAST)
    assert len(server.seen) == FAST.attempts
    assert files_below(home) == []


def test_broken_download_continues_by_range(home: Path, server: Server) -> None:
    broken = reply(BIG, sent=CUT, ETag='"v1"')
    got = obtain(make_entry(server.url("/f", broken, ranged(BIG))), policy=FAST)
    assert got.sha256 == hashlib.sha256(BIG).hexdigest()
    first, second = server.ranges()
    assert first is None
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) <= CUT


def test_next_call_continues_what_the_last_one_left(home: Path, server: Server) -> None:
    once = Policy(attempts=1, backoff_s=0.0)
    entry = make_entry(server.url("/f", reply(BIG, sent=CUT, ETag='"v1"'), ranged(BIG)))
    with pytest.raises(NotACheckpoint, match="the same command tries again"):
        obtain(entry, policy=once)
    assert len(part_files(home)) == 2
    obtain(entry, policy=once)
    assert server.ranges()[1] is not None
    assert part_files(home) == []


def test_changed_file_is_fetched_anew_instead_of_continued(home: Path, server: Server) -> None:
    broken = reply(b"\0" * len(BIG), sent=CUT, ETag='"old"')
    got = obtain(make_entry(server.url("/f", broken, ranged(BIG, '"new"'))), policy=FAST)
    assert got.sha256 == hashlib.sha256(BIG).hexdigest()


def test_server_without_ranges_restarts(home: Path, server: Server) -> None:
    broken, whole = reply(BIG, sent=CUT, ETag='"v1"'), reply(BIG, ETag='"v1"')
    bar = Recorder()
    got = obtain(make_entry(server.url("/f", broken, whole)), policy=FAST, progress=bar)
    assert got.sha256 == hashlib.sha256(BIG).hexdigest()
    assert (len(bar.stages), bar.done) == (2, len(BIG))


@pytest.mark.parametrize(("status", "reason"), [(404, "HTTP 404"), (403, "HTTP 403")])
def test_refusal_ends_a_download_that_could_be_continued(
    home: Path, server: Server, status: int, reason: str
) -> None:
    broken = reply(BIG, sent=CUT, ETag='"v1"')
    with pytest.raises(CheckpointUnavailable, match=reason):
        obtain(make_entry(server.url("/f", broken, reply(b"", status))), policy=FAST)
    assert files_below(home) == []


def test_range_beyond_the_file_restarts(home: Path, server: Server) -> None:
    broken, beyond = reply(BIG, sent=CUT, ETag='"v1"'), reply(b"", 416)
    got = obtain(make_entry(server.url("/f", broken, beyond, ranged(SMALL))), policy=FAST)
    assert got.sha256 == hashlib.sha256(SMALL).hexdigest()
    assert server.ranges()[2] is None


def test_wrong_range_in_the_answer_restarts(home: Path, server: Server) -> None:
    broken = reply(BIG, sent=CUT, ETag='"v1"')
    wrong = reply(BIG[5:], 206, ETag='"v1"', Content_Range=f"bytes 5-{len(BIG) - 1}/{len(BIG)}")
    got = obtain(make_entry(server.url("/f", broken, wrong, ranged(BIG))), policy=FAST)
    assert got.sha256 == hashlib.sha256(BIG).hexdigest()
    assert server.ranges()[2] is None


@pytest.mark.parametrize("length", [True, False], ids=["announced", "unannounced"])
def test_file_over_the_limit_is_refused(home: Path, server: Server, length: bool) -> None:
    small = Policy(attempts=3, backoff_s=0.0, max_bytes=100_000)
    url = server.url("/f", reply(BIG, length=length, ETag='"v1"'))
    bar = Recorder()
    with pytest.raises(CheckpointUnavailable, match="100000"):
        obtain(make_entry(url), policy=small, progress=bar)
    assert bar.done <= small.max_bytes  # it stopped there, not at the end of the body
    assert len(server.seen) == 1
    assert files_below(home) == []


def test_smaller_than_the_registry_says_is_truncated(home: Path, server: Server) -> None:
    url = server.url("/f", reply(SMALL))
    with pytest.raises(NotACheckpoint, match=rf"truncated: {len(SMALL)} of {len(BIG)} bytes"):
        obtain(make_entry(url, size_bytes=len(BIG)), policy=FAST)
    assert files_below(home) == []


def test_silent_server_times_out(home: Path, server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/f"
        quick = Policy(attempts=2, backoff_s=0.0, read_timeout_s=0.1)
        with pytest.raises(CheckpointUnavailable, match=r"no answer in time \(2 attempts\)"):
            obtain(make_entry(url), policy=quick)


def test_next_mirror_is_tried(home: Path, server: Server) -> None:
    bad = server.url("/bad", reply(b"<html>quota exceeded</html>"))
    got = obtain(make_entry(bad, server.url("/good", reply(SMALL))), policy=FAST)
    assert got.source.endswith("/good")


def test_all_mirrors_failing_says_what_each_answered(home: Path, server: Server) -> None:
    entry = make_entry(server.url("/f", reply(b"", 404)), "data:no/such.pth")
    with pytest.raises(CheckpointUnavailable) as caught:
        obtain(entry, policy=FAST)
    assert "127.0.0.1: HTTP 404" in str(caught.value)
    assert "data:no/such.pth: no such file; set --data-root" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_offline_asks_no_host(home: Path, server: Server) -> None:
    with pytest.raises(CheckpointUnavailable, match=r"127\.0\.0\.1: not asked \(offline\)"):
        obtain(make_entry(server.url("/f", reply(SMALL))), offline=True)
    assert server.seen == []


def drive(monkeypatch: pytest.MonkeyPatch, answer: bytes | Exception) -> None:
    def download(*, id: str, output: Any, **options: Any) -> None:
        output.write(answer if isinstance(answer, bytes) else b"partial")
        if isinstance(answer, Exception):
            raise answer

    monkeypatch.setattr(gdown, "download", download)


DRIVE = "gdrive:1sya0OI1o53a64M0oXNhYRnkLGPhVRXaQ"


def test_google_drive_file_is_stored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drive(monkeypatch, SMALL)
    bar = Recorder()
    got = obtain(make_entry(DRIVE), policy=FAST, progress=bar)
    assert (got.source, bar.done) == (DRIVE, len(SMALL))


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        (
            b"<html><title>Google Drive - Quota exceeded</title></html>",
            NotACheckpoint,
            "drive.google.com: file is HTML .*quota page",
        ),
        (
            b"<html>Google Drive can't scan this file for viruses.</html>",
            NotACheckpoint,
            "virus-scan warning page",
        ),
        (
            gdown.exceptions.FileURLRetrievalError("Too many users have viewed"),
            CheckpointUnavailable,
            "drive.google.com: .*Too many users have viewed",
        ),
        (b"x" * 200_000, CheckpointUnavailable, "more than 100000 bytes"),
    ],
    ids=["quota page", "virus page", "quota error", "too large"],
)
def test_google_drive_refusals(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | Exception,
    kind: type[CheckpointError],
    text: str,
) -> None:
    drive(monkeypatch, answer)
    with pytest.raises(kind, match=text):
        obtain(make_entry(DRIVE), policy=Policy(max_bytes=100_000))
    assert files_below(home) == []
