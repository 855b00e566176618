"""Pictures by worker processes: torchvision's pixels, in order, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data.decoders import CHUNK, Transform, cores, in_batches
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
    batches = list(in_batches(files, SMALL, CHUNK + 3, workers=cores()))
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


@pytest.mark.parametrize("workers", [0, 1, cores()])
def test_every_number_of_workers_gives_the_same_pixels(tmp_path: Path, workers: int) -> None:
    files = picture_tree(tmp_path, CHUNK + 3).pictures.files
    got = np.concatenate(list(in_batches(files, SMALL, 20, workers)))
    assert (got == by_torchvision(files, SMALL)).all()


def test_no_draw_is_taken_from_the_global_generator(tmp_path: Path) -> None:
    files = picture_tree(tmp_path, 2 * CHUNK).pictures.files
    before = torch.get_rng_state()
    list(in_batches(files, SMALL, CHUNK))
    assert torch.equal(torch.get_rng_state(), before)


def shared_memory() -> set[Path]:
    return set(Path("/dev/shm").glob("torch_*"))


def test_stopping_early_leaves_no_process_or_file(tmp_path: Path) -> None:
    files = picture_tree(tmp_path, 80).pictures.files
    before, files_before = children(), shared_memory()
    stream = in_batches(files, SMALL, 10)
    next(stream)
    assert children() - before
    stream.close()
    assert children() <= before
    assert shared_memory() <= files_before


def test_an_error_leaves_no_process(tmp_path: Path) -> None:
    files = picture_tree(tmp_path, 80).pictures.files
    files[0].write_bytes(b"")
    before = children()
    with pytest.raises(DataError) as caught:
        list(in_batches(files, SMALL, 10))
    assert children() <= before  # while the error is still held
    assert "\n" not in str(caught.value)


def test_a_worker_that_is_killed_is_an_error_and_no_hang(tmp_path: Path) -> None:
    files = picture_tree(tmp_path, CHUNK).pictures.files * 200
    before = children()
    stream = in_batches(files, SMALL, CHUNK, workers=1)
    next(stream)
    for worker in children() - before:
        os.kill(worker, signal.SIGKILL)
    with pytest.raises(DataError, match=r"a decoding process ended: .*fewer cores\.$"):
        list(stream)


def test_workers_end_with_the_process_they_work_for(tmp_path: Path) -> None:
    picture_tree(tmp_path, 4 * CHUNK)
    code = f"""
import os, signal
from pathlib import Path
from harness.data.decoders import Transform, in_batches
files = sorted(Path({str(tmp_path)!r}).rglob("*.png"))
stream = in_batches(files, Transform(20, 16), 25, workers=2)
next(stream)
task = Path(f"/proc/{{os.getpid()}}/task")
print(*(pid for each in task.glob("*/children") for pid in each.read_text().split()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    workers = done.stdout.split()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(map(runs, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(pid: str) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
