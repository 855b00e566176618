"""Servers that answer nonsense, with a good mirror behind them."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

from harness.checkpoints import Policy, obtain
from harness.errors import CheckpointError
from tests.campaigns.campaign import Trial, campaign
from tests.checkpoints.conftest import BIG, BIG_STATE, files_below, make_entry
from tests.checkpoints.hostile_answers import MANY, ODD, chunked, moved, raw
from tests.support.server import Answer, Server, ranged, reply

ONCE = Policy(attempts=2, backoff_s=0, read_timeout_s=1, grace_s=5.0)
LONGEST = 600  # characters of a line
NUMBERS = ("", "0", "1", "-1", "+3", "1e3", "0x10", "1_0", " 7", "\u00b2", "nan", MANY, "3, 4")
STATUSES = (100, 101, 103, 199, 201, 202, 203, 204, 205, 206, 207, 226, 300, 304, 305, 306, 308)
ERRORS = (400, 401, 402, 403, 404, 405, 407, 410, 416, 418, 425, 429, 451, 499, 500, 502, 503, 511)
PLACES = (
    *("", "/", "?", "#", "//", "http:", "http://", "file:///etc/passwd", "ftp://127.0.0.1/x"),
    *("data:,x", "javascript:1", "http://0/", "http://[::]:0/", "http://127.0.0.1:99999/"),
    *("http://user:pw@127.0.0.1:1/", "http://127.1:1/", "http://2130706433:1/", "\\\\host\\x"),
    *("http://127.0.0.1:1/\x1b[31m", "http://xn--/", "http://a..b/", "../" * 500, "a" * 9000),
)


@campaign(count=234, sample=20)
def hostile_servers(trial: Trial) -> Iterator[str]:
    """Answers of a local server: each ends in a download of the very file or in one line of at most
    600 characters, leaves nothing behind, and the mirror after it is asked and taken.
    """
    chosen = sorted(every_answer().items())
    trial.rng.shuffle(chosen)
    server = Server()
    look_up = socket.getaddrinfo
    try:
        socket.getaddrinfo = _only_here  # type: ignore[assignment]
        for number, (what, answer) in enumerate(chosen[: trial.count]):
            os.environ["BENCH_HOME"] = str(trial.folder / str(number))
            told = _tried(trial, server, answer)
            yield told and f"{what}: {told}"
    finally:
        socket.getaddrinfo = look_up
        server.close()


def _only_here(host: str | bytes | None, *rest: object, **named: object) -> object:
    """A name server that knows this machine alone."""
    if host in ("127.0.0.1", "localhost"):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", rest[0]))]
    raise socket.gaierror(f"no such host: {host!r}")


def _tried(trial: Trial, server: Server, answer: Answer) -> str:
    home = trial.folder / os.environ["BENCH_HOME"]
    odd, good = server.url("/odd", answer), server.url("/good", reply(BIG))
    try:
        told = _differs(obtain(make_entry(odd), policy=ONCE))
    except CheckpointError as error:
        line = str(error)
        told = "" if line.isprintable() and len(line) < LONGEST else f"not one line: {line[:200]!r}"
        left = [name for name in files_below(home) if ".part" not in name]
        told = told or (f"left behind: {left}" if left else "")
    except Exception as error:  # what the campaign is after
        return f"{type(error).__name__}: {error}"
    if told:
        return told
    try:
        return _differs(obtain(make_entry(odd, good), policy=ONCE))
    except Exception as error:
        return f"the mirror got no chance: {type(error).__name__}: {str(error)[:200]}"


def _differs(obtained) -> str:  # type: ignore[no-untyped-def]
    read = obtained.tensors()
    same = all(read[name].equal(value) for name, value in BIG_STATE.items())
    return "" if same else "accepted with other weights"


def every_answer() -> dict[str, Answer]:
    """What the server says first; the answer repeats when it is asked again."""
    found = dict(ODD)
    for number in NUMBERS:
        length = b"Content-Length: " + number.encode("utf-8")
        found[f"length {number[:9]!r}"] = raw(b"HTTP/1.1 200 OK", length, body=BIG)
        found[f"length {number[:9]!r} of an error"] = raw(b"HTTP/1.1 500 No", length, body=b"x")
        for span in (f"bytes {number}-{number}/{number}", f"bytes 0-{len(BIG) - 1}/{number}"):
            found[f"range {span[:40]!r}"] = _spanned(span)
        found[f"pause {number[:9]!r}"] = reply(b"", 503, Retry_After=number.strip() or "-")
    for status in (*STATUSES, *ERRORS):
        found[f"status {status}"] = reply(BIG, status)
        found[f"status {status}, empty"] = reply(b"", status)
    for place in PLACES:
        found[f"moved to {place[:30]!r}"] = moved(place.encode())
    found["moved in a circle"] = moved(b"/odd")
    for part in range(1, 20):
        sent = len(BIG) * part // 20
        found[f"ends after {sent}"] = reply(BIG, sent=sent)
        found[f"ends after {sent}, continues with another file"] = _changing(sent)
    found |= _packed()
    return found


def _spanned(span: str) -> Answer:
    return raw(b"HTTP/1.1 206 Part", b"Content-Range: " + span.encode("utf-8"), body=BIG)


def _changing(sent: int) -> Answer:
    """The beginning of one file, then, as it says itself, the rest of another."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers.get("Range") is None:
            reply(BIG, sent=sent, ETag='"v1"')(handler)
        else:
            ranged(bytes(len(BIG)), etag='"v1"')(handler)

    return answer


def _packed() -> dict[str, Answer]:
    """Lengths and packings that are not what they are said to be; too many headers."""
    bomb = gzip.compress(bytes(50_000_000))
    head, flood = b"HTTP/1.1 200 OK", [b"X-%d: y" % n for n in range(300)]
    return {
        "gzip that unfolds": raw(head, b"Content-Encoding: gzip", body=bomb),
        "gzip, cut off": raw(head, b"Content-Encoding: gzip", body=gzip.compress(BIG)[:-9]),
        "deflate that is none": raw(head, b"Content-Encoding: deflate", body=BIG),
        "unknown packing": raw(head, b"Content-Encoding: \x1b[31m", body=BIG),
        "gzip, as it should be": raw(head, b"Content-Encoding: gzip", body=gzip.compress(BIG)),
        "chunked and a length": raw(
            head, b"Transfer-Encoding: chunked", b"Content-Length: 9", body=b"0\r\n\r\n"
        ),
        "chunks of nothing": chunked(b"0"),
        "chunks with extensions": chunked(b"10;" + b"a" * 9000),
        "300 headers": raw(head, *flood, body=BIG),
        "a header of 100 kB": raw(head, b"X: " + b"y" * 100_000, body=BIG),
        "a header without a colon": raw(head, b"nonsense", body=BIG),
        "a folded header": raw(head, b"X: a", b" b", body=BIG),
        "a zero in a header": raw(head, b"X: a\x00b", body=BIG),
        "a long status": raw(b"HTTP/1.1 200 " + b"O" * 70_000, body=BIG),
        "an old protocol": raw(b"HTTP/0.9 200 OK", body=BIG),
        "a coming protocol": raw(b"HTTP/9.9 200 OK", body=BIG),
        "a page": reply(b"<!DOCTYPE html><title>\x1b]0;evil\x07</title>" + bytes(2000)),
        "zeros": reply(bytes(len(BIG))),
        "more than it said": raw(head, b"Content-Length: %d" % len(BIG), body=BIG + b"x" * 5000),
    }
