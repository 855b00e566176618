"""A server on this machine that answers as it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *args: Any) -> None:
        """A client that hangs up is nothing to print."""


class Server:
    """Answers per path, one after the other; the last one repeats. Records what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, dict(self.headers)))
                queue = outer.answers.get(self.path, [_UNKNOWN])
                (queue.pop(0) if len(queue) > 1 else queue[0])(self)

            def log_message(self, *args: Any) -> None:
                """Keep test output clean."""

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self._thread.start()

    def url(self, path: str, *answers: Answer) -> str:
        self.answers[path] = list(answers)
        return f"http://127.0.0.1:{self._http.server_address[1]}{path}"

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.seen]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def reply(
    body: bytes, status: int = 200, sent: int | None = None, length: bool = True, **headers: str
) -> Answer:
    """Send `body` whole, or only its first `sent` bytes while announcing all."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if length:
            handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body[:sent])

    return answer


def ranged(body: bytes, etag: str = '"v1"') -> Answer:
    """A server that continues where it is asked to, if the file is still the same."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        if wanted is None or handler.headers.get("If-Range") != etag:
            return reply(body, ETag=etag)(handler)
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        span = f"bytes {start}-{len(body) - 1}/{len(body)}"
        return reply(body[start:], 206, ETag=etag, Content_Range=span)(handler)

    return answer


_UNKNOWN = reply(b"", 404)
