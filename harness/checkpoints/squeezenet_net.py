"""Decoder of Deep Compression's SqueezeNet file (.net): codebooks, codes and position gaps.

Little-endian. First one uint32 per convolution: its number n of stored entries. Then per
convolution 256 float32 (codebook), one float32 per output channel (bias), n bytes (codes),
(n + 1) // 2 bytes (gaps, two per byte, low four bits first). Entry k lies gap+1 positions after
entry k-1 in the flat weight (out, in, kh, kw); all other positions have the value codebook[0].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from methods.published_formats import PublishedFormatError

CODEBOOK = 256
_FIRES = {  # number of each fire module: (input, squeeze, expand) channels
    2: (96, 16, 64),
    3: (128, 16, 64),
    4: (128, 32, 128),
    5: (256, 32, 128),
    6: (256, 48, 192),
    7: (384, 48, 192),
    8: (384, 64, 256),
    9: (512, 64, 256),
}


def layer_shapes() -> dict[str, tuple[int, int, int, int]]:
    """SqueezeNet 1.0's 26 convolutions: name in the published graph, `.` for `/` -> shape."""
    shapes = {"conv1": (96, 3, 7, 7)}
    for number, (width, squeeze, expand) in _FIRES.items():
        shapes[f"fire{number}.conv1x1_1"] = (squeeze, width, 1, 1)
        shapes[f"fire{number}.conv1x1_2"] = (expand, squeeze, 1, 1)
        shapes[f"fire{number}.conv3x3_2"] = (expand, squeeze, 3, 3)
    return shapes | {"conv_final": (1000, 512, 1, 1)}


def decode(data: bytes) -> dict[str, Tensor]:
    """SqueezeNet 1.0's state dict, float32, under the names of the published graph.

    Raises PublishedFormatError if the file is too short, too long, or an entry lies outside.
    """
    shapes = layer_shapes()
    counts = _take(data, 0, "<u4", len(shapes), "header")
    offset = counts.nbytes
    state: dict[str, Tensor] = {}
    for (name, shape), count in zip(shapes.items(), counts.tolist(), strict=True):
        codebook = _take(data, offset, "<f4", CODEBOOK, name)
        bias = _take(data, offset + codebook.nbytes, "<f4", shape[0], name)
        offset += codebook.nbytes + bias.nbytes
        codes = _take(data, offset, "u1", count, name)
        gaps = _take(data, offset + count, "u1", (count + 1) // 2, name)
        offset += count + gaps.nbytes
        weight = _scatter(codebook, codes, gaps, shape, name)
        state[f"{name}.weight"] = torch.from_numpy(weight)
        state[f"{name}.bias"] = torch.from_numpy(bias.astype(np.float32))
    if offset != len(data):
        raise PublishedFormatError(f"{len(data) - offset} bytes follow the last layer")
    return state


def _take(data: bytes, offset: int, dtype: str, count: int, name: str) -> np.ndarray:
    needed = offset + np.dtype(dtype).itemsize * count
    if needed > len(data):
        msg = f"file ends inside {name}: {len(data)} bytes, at least {needed} needed"
        raise PublishedFormatError(msg)
    return np.frombuffer(data, dtype, count, offset)


def _scatter(
    codebook: np.ndarray,
    codes: np.ndarray,
    gaps: np.ndarray,
    shape: tuple[int, int, int, int],
    name: str,
) -> np.ndarray:
    steps = np.empty(2 * len(gaps), np.int64)
    steps[0::2] = (gaps & 15) + 1
    steps[1::2] = (gaps >> 4) + 1
    positions = np.cumsum(steps[: len(codes)]) - 1
    flat = np.full(np.prod(shape), codebook[0], np.float32)
    if len(positions) and positions[-1] >= flat.size:
        msg = f"{name}: an entry lies at {positions[-1]}, beyond {flat.size} weights"
        raise PublishedFormatError(msg)
    flat[positions] = codebook[codes]
    return flat.reshape(shape)
