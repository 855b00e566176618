"""Reference decoding of pictures with Pillow, and an ordered stream of them from threads.

The published accuracies were computed on these pixels: decode is bit-identical to torchvision's
Resize + CenterCrop on Pillow images. Decoding and resizing release the interpreter lock, so threads
do for training, where every picture is drawn anew; evaluation uses processes (decoders.py).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from harness.errors import DataError

T = TypeVar("T")
R = TypeVar("R")

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def decode(
    path: Path, resize: int | None, crop: int | None, interpolation: str = "bilinear"
) -> np.ndarray:
    """A picture as uint8 (3, H, W), RGB.

    resize: short side in pixels, the long side is int(resize * long / short); None = as it is.
    crop: side of the centre square; smaller pictures are padded with zeros; None = no crop.
    Raises DataError naming the file if it is no readable picture.
    """
    return np.ascontiguousarray(_prepared(path, resize, crop, interpolation))


def decode_into(
    out: np.ndarray, path: Path, resize: int | None, crop: int, interpolation: str = "bilinear"
) -> None:
    """Fill `out`, uint8 (3, crop, crop), with what `decode` returns."""
    out[...] = _prepared(path, resize, crop, interpolation)


def squash(path: Path, side: int) -> np.ndarray:
    """A picture as uint8 (3, side, side), its aspect ratio given up, bilinear."""
    picture = opened(path).resize((side, side), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def opened(path: Path) -> Image.Image:
    """The decoded picture in mode RGB. Raises DataError naming the file if that fails."""
    try:
        with Image.open(path) as file:
            return file.convert("RGB")
    except Exception as error:  # a damaged file can fail in any way
        raise DataError(f"{path}: not a readable picture ({error}); get it again") from error


def threads() -> int:
    """Decoding threads: one per core this process may use, 16 at most."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(16, usable or 1)


def ordered_map(work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    """work(item) for each item, in order, with at most `ahead` of them started in advance.

    The first error is raised where its result would have come; started work is abandoned when the
    caller stops early.
    """
    pool = ThreadPoolExecutor(threads(), thread_name_prefix="decode")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepared(path: Path, resize: int | None, crop: int | None, interpolation: str) -> np.ndarray:
    picture = opened(path)
    if resize is not None:
        picture = _short_side(picture, resize, FILTERS[interpolation])
    pixels = np.asarray(picture)
    if crop is not None:
        pixels = _centre(pixels, crop)
    return pixels.transpose(2, 0, 1)


def _short_side(picture: Image.Image, size: int, method: Image.Resampling) -> Image.Image:
    width, height = picture.size
    short, long = sorted((width, height))
    if short == size:
        return picture
    scaled = int(size * long / short)
    target = (size, scaled) if width <= height else (scaled, size)
    return picture.resize(target, method)


def _centre(pixels: np.ndarray, crop: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    if height < crop or width < crop:
        down, across = max(crop - height, 0), max(crop - width, 0)
        # Zeros around, the odd row or column at the end.
        margins = ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
        pixels = np.pad(pixels, margins)
        height, width = pixels.shape[:2]
    # round() goes to even at .5; torchvision does the same.
    top, left = round((height - crop) / 2), round((width - crop) / 2)
    return pixels[top : top + crop, left : left + crop]
