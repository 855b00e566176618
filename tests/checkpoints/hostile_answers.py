"""Answers of a server that mean no good, or nothing at all."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

from tests.checkpoints.conftest import SMALL
from tests.support.server import Answer, reply

WHOLE = f"bytes 0-{len(SMALL) - 1}/{len(SMALL)}"
MANY = "9" * 5000


def raw(*lines: bytes, body: bytes = b"") -> Answer:
    """An answer of exactly these lines."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\r\n".join([*lines, b"", body]))
        handler.close_connection = True

    return answer


def moved(place: bytes) -> Answer:
    return raw(b"HTTP/1.1 302 Found", b"Location: " + place, b"Content-Length: 0")


def chunked(*sizes: bytes) -> Answer:
    body = b"".join(size + b"\r\n" + SMALL[:16] + b"\r\n" for size in sizes)
    return raw(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", body=body)


ODD: dict[str, Answer] = {
    "a part that nobody asked for": reply(SMALL[5:], 206, Content_Range="bytes 5-9/10"),
    "a part without a range": reply(SMALL, 206),
    "a range of 5,000 digits": reply(SMALL, 206, Content_Range=f"bytes 0-{MANY}/{MANY}"),
    "a negative chunk": chunked(b"-10"),
    "a chunk of no size": chunked(b"zz"),
    "a chunk of 5,000 digits": chunked(b"f" * 5000),
    "chunks that end early": chunked(b"10"),
    "an address with half a bracket": moved(b"http://[::1/"),
    "a host that begins with a dot": moved(b"http://.example/"),
    "a label of 70 characters": moved(b"http://" + b"a" * 70 + b".example/"),
    "a place that is no text": moved(b"http://\xff\xfe/\x80"),
    "a port of 5,000 digits": moved(b"http://127.0.0.1:" + MANY.encode() + b"/"),
    "no http at all": raw(b"SSH-2.0-OpenSSH"),
    "a status of letters": raw(b"HTTP/1.1 abc OK"),
    "a status of no kind": raw(b"HTTP/1.1 999 \x1b[31mred", b"Content-Length: 0"),
    "two lengths": raw(b"HTTP/1.1 200 OK", b"Content-Length: 3", b"Content-Length: 4", body=b"abc"),
    "a packing that it is not": raw(b"HTTP/1.1 200 OK", b"Content-Encoding: gzip", body=SMALL),
    "nothing": raw(),
}
