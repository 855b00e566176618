"""How a step is described to the native kernels: one row of 64-bit fields."""

from __future__ import annotations

from enum import IntEnum

DEPTHWISE_SIDE = 3
DEPTHWISE_TAPS = DEPTHWISE_SIDE**2
MOST_VECTORS = 8  # of pixels per block; with AVX-512 half of the registers


class StepKind(IntEnum):
    """What a step does."""

    PRODUCT = 0  # sparse product on planes
    RESAMPLE = 1  # copy of every stride-th pixel
    POOL = 2  # maximum over windows
    MEAN = 3  # over height and width
    TRANSPOSE = 4  # rows of features to planes, or back; a residual lies like the result
    DEPTHWISE = 5  # convolution of each channel by itself
    GELU = 6  # of planes, in place


class Field(IntEnum):
    """Places in the row of a step. Addresses and distances are in bytes.

    An operand (X, Y, RESIDUAL) of an image lies at address + slot * distance of slots + image *
    distance of images. RESIDUAL = 0: none.
    """

    KIND = 0
    GIVEN = 22  # 1: X is counted from the images handed in
    X = 1
    X_SLOT = 2
    X_IMAGE = 3
    Y = 4
    Y_SLOT = 5
    Y_IMAGE = 6
    RESIDUAL = 7
    RESIDUAL_SLOT = 8
    RESIDUAL_IMAGE = 9
    # product, pool and depthwise: float32 limits of the clamp
    LOW = 10
    HIGH = 11
    # product
    ENTRIES = 12  # int32 offset in bytes, float32 weight
    ROWS = 13  # per filter: see Row
    MASK = 14  # int32 per position, -1 for pixels, 0 between them
    TILES = 15  # per block: first byte in a plane, vectors
    TILE_BOUNDS = 16  # (first, end) for a thread alone, then the bounds for all threads
    ROW_BOUNDS = 17
    # resample, pool, mean, depthwise, gelu
    CHANNELS = 12
    X_PLANE = 13
    Y_PLANE = 14
    # resample, pool, transpose, depthwise
    X_LINE = 15
    Y_LINE = 16
    HEIGHT = 17
    WIDTH = 18
    STRIDE = 19  # between columns, in elements
    # pool
    TAPS = 20  # int64 offsets in bytes; depthwise: per channel float32 weights, then the bias
    TAP_COUNT = 21
    # mean, gelu
    POSITIONS = 15
    SCALE = 16  # float32


FIELDS = 23
FIELD_BYTES = 8
# Of a filter: output offset, first and end byte of its entries, float32 bias, int32 offset of the
# residual.
ROW_BYTES = 32
ENTRY_BYTES = 8
TILE_BYTES = 16


def interleaved(vectors: int) -> int:
    """Separate sums per pixel, so that a short block need not wait for the last addition."""
    return {1: 4, 2: 4, 3: 2, 4: 2}.get(vectors, 1)
