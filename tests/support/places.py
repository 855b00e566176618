"""Folders that refuse: a disk of a few kilobytes, and one that may only be read."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """`folder` as a disk of its own in memory. Skips where none may be mounted."""
    with _mounted(folder, f"size={kilobytes}k"):
        yield folder


@contextmanager
def read_only(folder: Path) -> Iterator[Path]:
    """`folder`, empty, in which nothing can be made, by root neither."""
    if os.geteuid():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    with _mounted(folder, "ro"):
        yield folder


@contextmanager
def _mounted(folder: Path, option: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    typed = ["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(folder)]
    done = subprocess.run(typed, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
