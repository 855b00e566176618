"""What became of every job of a queue: one JSON line per event, appended, on disk at once.

The last line of a key counts. The half line that a pulled plug leaves is skipped; its job is asked
again, and finds in its run folder how far it came.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from harness.launch.jobs import Ending, State


@dataclass(frozen=True, slots=True)
class Event:
    """One line."""

    key: str
    state: State
    attempt: int = 1
    at: float = 0.0  # seconds since 1970
    place: str = ""
    error: str = ""
    reason: str = ""
    value: Mapping[str, Any] | None = None

    def ending(self) -> Ending:
        """The ending that this event records."""
        return Ending(self.key, self.state, self.value, self.error, self.reason, self.place)


@dataclass
class Journal:
    """The events of one queue. file=None: nothing is kept."""

    file: Path | None = None
    last: dict[str, Event] = field(default_factory=dict)
    _lines: IO[str] | None = None

    @classmethod
    def open(cls, file: Path) -> Journal:
        """The journal in `file`, with what it says so far."""
        return cls(file, read_events(file))

    def done(self, key: str) -> Ending | None:
        """How the job ended if it was done; None otherwise."""
        event = self.last.get(key)
        return event.ending() if event is not None and event.state == "done" else None

    def add(self, event: Event) -> None:
        """Append one event, stamped with the time."""
        event = Event(**{**asdict(event), "at": time.time()})
        self.last[event.key] = event
        if self.file is None:
            return
        if self._lines is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._lines = self.file.open("a", encoding="utf-8")
            if self._lines.tell() and not self.file.read_bytes().endswith(b"\n"):
                self._lines.write("\n")  # ends the half line of a crash
        self._lines.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
        self._lines.flush()

    def close(self) -> None:
        """Let go of the file."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None


def read_events(file: Path) -> dict[str, Event]:
    """Key -> its last event; empty if there is no such file."""
    if not file.exists():
        return {}
    found = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            event = Event(**json.loads(line))
        except (ValueError, TypeError):
            continue
        found[event.key] = event
    return found
