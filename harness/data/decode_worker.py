"""A process that decodes pictures for another one: paths in on stdin, pixels out through a file.

usage: python -m harness.data.decode_worker FILE SLOTS RESIZE CROP INTERPOLATION

FILE is mapped by both processes and has room for SLOTS pictures (uint8, 3 x CROP x CROP each). A
line READY says that it is mapped. Each line read is a JSON array of at most SLOTS paths; the line
READY answers it when their pixels are in place, or a JSON text that tells what is wrong with one.
The process ends when its input does, so it never outlives the one it works for. Nothing is pickled,
and nothing heavier than Pillow is imported.
"""

from __future__ import annotations

import json
import mmap
import signal
import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

from harness.data.decoding import decode_into
from harness.errors import DataError

READY = b"\n"


def serve(
    jobs: BinaryIO, answers: BinaryIO, slots: np.ndarray, resize: int | None, interpolation: str
) -> None:
    """Answer every line of `jobs` until there are no more. slots: uint8 (SLOTS, 3, CROP, CROP)."""
    crop = slots.shape[-1]
    answers.write(READY)
    answers.flush()
    for line in jobs:
        answer = READY
        for slot, path in zip(slots, json.loads(line), strict=False):
            try:
                decode_into(slot, Path(path), resize, crop, interpolation)
            except DataError as error:
                answer = json.dumps(str(error)).encode() + b"\n"
                break
        answers.write(answer)
        answers.flush()


def main() -> None:
    name, count, resize, side, interpolation = sys.argv[1:]
    shape = (int(count), 3, int(side), int(side))
    with open(name, "r+b") as file:
        shared = mmap.mmap(file.fileno(), int(np.prod(shape)))
    slots = np.frombuffer(shared, np.uint8).reshape(shape)
    # Ctrl-C reaches the whole group; the other process decides and closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        serve(
            sys.stdin.buffer,
            sys.stdout.buffer,
            slots,
            None if resize == "none" else int(resize),
            interpolation,
        )
    except BrokenPipeError:  # the other process is gone
        sys.stderr.close()


if __name__ == "__main__":
    main()
