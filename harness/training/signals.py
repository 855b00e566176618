"""SIGTERM, Ctrl-C, a closed terminal: remembered while the state can be saved, else obeyed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.errors import Preempted

STOPPING = (signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
Handler = Callable[[int, Any], None]


class _Leave(BaseException):
    """Preempted on its way out: no `except Exception` between may take it for a damaged file."""


class StopRequest:
    """The signal that asked the program to stop; number 0 = none so far."""

    def __init__(self) -> None:
        self.number = 0


def signal_name(number: int) -> str:
    """Such as "SIGTERM"."""
    return signal.Signals(number).name


@contextmanager
def deferred() -> Iterator[StopRequest]:
    """A request that fills when a signal arrives; the block looks at it when it can save.

    A second Ctrl-C does not wait: the block ends where the program is, with Preempted.
    """
    request = StopRequest()

    def remember(number: int, _frame: object) -> None:
        if request.number and number == signal.SIGINT:
            raise _Leave("SIGINT twice: left without saving. The same command continues")
        request.number = number

    with _handling(remember):
        yield request


@contextmanager
def obeyed() -> Iterator[None]:
    """A signal ends the block at once, with Preempted: what was worth keeping is saved already."""

    def leave(number: int, _frame: object) -> None:
        msg = f"{signal_name(number)}: stopped outside of training. The same command continues"
        raise _Leave(msg)

    with _handling(leave):
        yield


@contextmanager
def time_limit(hours: float | None) -> Iterator[None]:
    """SIGTERM to this process after `hours`, so that a training saves and leaves; None = never."""
    if hours is None:
        yield
        return
    timer = threading.Timer(3600 * hours, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    with obeyed():
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@contextmanager
def _handling(handler: Handler) -> Iterator[None]:
    """`handler` for the stopping signals; only the main thread can set one, others go without."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted = (n for n in STOPPING if signal.getsignal(n) != signal.SIG_IGN)  # nohup ignores one
    before: dict[int, Any] = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    except _Leave as leaving:
        raise Preempted(str(leaving)) from None
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
