"""A folder that appears whole: written beside its place, then swapped in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import ProtocolError

MARKER = ".bench-site"


def require_ours(out: Path) -> None:
    """Raises ProtocolError if replacing `out` would destroy what this program did not write."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ProtocolError(f"{out} is a file. Give a folder: bench report --out DIR")
    if any(out.iterdir()) and not (out / MARKER).is_file():
        msg = f"{out} holds files that bench report did not write (no {MARKER} in it)"
        raise ProtocolError(f"{msg}; it would be replaced. Give another folder: --out DIR")


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """An empty folder to write into; it becomes `out` if nothing fails, else it is removed.

    Readers of `out` see the old site or the new one. Raises ProtocolError as `require_ours` does.
    """
    require_ours(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    part.mkdir()
    try:
        (part / MARKER).write_text(
            "Written by bench report; replaced as a whole by the next one.\n"
        )
        yield part
        if out.exists():
            out.rename(old)
        part.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
