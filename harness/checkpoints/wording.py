"""How messages spell what stands in a file: names, types, sizes, counts and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def spelled(dtype: torch.dtype) -> str:
    """A type without the `torch.` before it."""
    return str(dtype).removeprefix("torch.")


def shown(name: str, most: int = 100) -> str:
    """A text from a file as a message may show it: one line, no control characters, not long."""
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return plain if len(plain) <= most else f"{plain[:most]}..."


def counted(count: int, noun: str) -> str:
    """A number with its noun: "1 mask", "2 masks"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def in_kb(size: int) -> str:
    """A number of bytes for a message."""
    return f"{size} bytes" if size < 1000 else f"{size / 1000:.0f} kB"


def damaged(error: Exception) -> str:
    """One sentence about a file that a reader gave up on."""
    first = (str(error).splitlines() or [""])[0][:200]
    return f"file is damaged or cut off ({type(error).__name__}: {first})."
