"""Pictures by worker processes: torchvision's pixels, in order, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from harness.data.decoders import CHUNK, Decoders, Transform, in_batches
from harness.errors import DataError
from tests.data.pictures import KINDS, by_torchvision, picture_tree, write_picture

SMALL = Transform(20, 16)


def children() -> set[int]:
    """Process ids of living children of this process."""
    task = Path(f"/proc/{os.getpid()}/task")
    return {int(pid) for each in task.glob("*/children") for pid in each.read_text().split()}


@pytest.mark.parametrize(
    "transform", [SMALL, Transform(16, 16, "bicubic"), Transform(None, 30)], ids=str
)
def test_every_kind_of_picture_gets_torchvisions_pixels(
    tmp_path: Path, transform: Transform
) -> None:
    files = tuple(write_picture(tmp_path / name, w, h, mode) for w, h, mode, name in KINDS)
    got = np.concatenate(list(in_batches(files, transform, 4)))
    assert got.dtype == np.uint8 and got.shape == (len(KINDS), *transform.shape)
    assert (got == by_torchvision(files, transform)).all()


def test_batches_come_in_order_whatever_finishes_first(tmp_path: Path) -> None:
    files = picture_tree(tmp_path, 3 * CHUNK + 7).pictures.files
    batches = list(in_batches(files, SMALL, CHUNK + 3, workers=3))
    assert [len(batch) for batch in batches] == [CHUNK + 3, CHUNK + 3, CHUNK + 1]
    assert (np.concatenate(batches) == by_torchvision(files, SMALL)).all()


def test_nothing_to_decode_is_no_batch() -> None:
    assert list(in_batches([], SMALL, 8)) == []


@pytest.mark.parametrize("content", [b"", b"<html>", None], ids=["empty", "page", "cut off"])
def test_an_unreadable_picture_is_named_in_its_place(tmp_path: Path, content: bytes | None) -> None:
    files = picture_tree(tmp_path, 60).pictures.files
    bad = files[37]
    bad.write_bytes(bad.read_bytes()[:90] if content is None else content)
    stream = in_batches(files, SMALL, 20)
    next(stream)
    with pytest.raises(DataError, match=f"{bad.name}: not a readable picture"):
        next(stream)


def test_stopping_early_leaves_no_process_thread_or_file(tmp_path: Path) -> None:
    files = picture_tree(tmp_path, 80).pictures.files
    before, temporary = children(), set(Path(tempfile.gettempdir()).glob("decode-*"))
    stream = in_batches(files, SMALL, 10)
    next(stream)
    assert children() - before
    stream.close()  # type: ignore[attr-defined]
    assert children() <= before
    assert not [each for each in threading.enumerate() if each.name.startswith("decode")]
    assert set(Path(tempfile.gettempdir()).glob("decode-*")) <= temporary


def test_a_worker_that_is_killed_is_an_error_and_no_hang(tmp_path: Path) -> None:
    files = picture_tree(tmp_path, 10).pictures.files
    out = np.empty((10, *SMALL.shape), np.uint8)
    with Decoders(SMALL, 1) as decoders:
        before = children()
        decoders.decode(files, out, len).result()
        (worker,) = children() - before
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(DataError, match=r"ended \(exit code -9\).*0000.png"):
            decoders.decode(files, out, len).result()


def test_the_callers_error_is_told_and_not_the_pipe_of_a_killed_worker(tmp_path: Path) -> None:
    files = picture_tree(tmp_path, 10).pictures.files
    out = np.empty((10, *SMALL.shape), np.uint8)
    with pytest.raises(OSError, match="the disk is full"), Decoders(SMALL, 1) as decoders:
        decoders.decode(files, out, len).result()
        (process,) = decoders._processes
        process.kill()
        process.wait()
        with pytest.raises(DataError, match="ended"):
            decoders.decode(files, out, len).result()  # stays unread in the pipe's buffer
        raise OSError("the disk is full")


def test_a_worker_ends_with_the_process_it_works_for(tmp_path: Path) -> None:
    picture_tree(tmp_path, 10)
    code = f"""
import os, signal, sys
import numpy as np
from pathlib import Path
from harness.data.decoders import Decoders, Transform
files = sorted(Path({str(tmp_path)!r}).rglob("*.png"))
decoders = Decoders(Transform(20, 16), 1)
decoders.decode(files, np.empty((10, 3, 16, 16), np.uint8), len).result()
print(decoders._processes[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    worker = int(done.stdout)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and Path(f"/proc/{worker}/status").exists():
        if "zombie" in Path(f"/proc/{worker}/status").read_text():
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{worker}").exists()


def test_the_worker_imports_nothing_heavy() -> None:
    heavy = ["torch", "torchvision", "timm"]
    code = (
        "import json, sys, harness.data.decode_worker;"
        f"print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
