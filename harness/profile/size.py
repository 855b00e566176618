"""How many bytes a network's weights take: as they are, with zeros packed, and deflated."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

DEFLATE_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of one state dict, names and file headers not counted.

    dense: every tensor as it is. packed: each floating-point tensor as the smaller of that and one
    bit per element (rounded up to whole bytes) plus its non-zero values. deflated: zlib at level 6
    over the dense bytes, tensor after tensor, which is what gzip makes of the file.
    """

    dense: int
    packed: int
    deflated: int


def size(network: nn.Module) -> Size:
    """The three sizes of the state dict of `network`; sparse tensors count as the dense ones."""
    compressor = zlib.compressobj(DEFLATE_LEVEL)
    dense = packed = deflated = 0
    for value in network.state_dict().values():
        plain = value.detach().to("cpu")
        plain = plain.to_dense() if plain.layout != torch.strided else plain
        dense += plain.nbytes
        packed += _packed(plain)
        deflated += len(compressor.compress(plain.contiguous().flatten().view(torch.uint8).numpy()))
    return Size(dense, packed, deflated + len(compressor.flush()))


def _packed(value: Tensor) -> int:
    if not value.is_floating_point():
        return value.nbytes
    bits = -(-value.numel() // 8)
    return min(value.nbytes, bits + int(torch.count_nonzero(value)) * value.element_size())
