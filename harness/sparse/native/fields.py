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

    An operand (X, Y, RESIDUAL) of an image lies at address + distance of slots * number of the
    thread + distance of images * number of the image + distance in work * its number among those
    that the thread has in work. RESIDUAL = 0: none.
    """

    KIND = 0
    GIVEN = 25  # 1: X is counted from the images handed in
    X = 1
    X_SLOT = 2
    X_IMAGE = 3
    X_WORK = 4
    Y = 5
    Y_SLOT = 6
    Y_IMAGE = 7
    Y_WORK = 8
    RESIDUAL = 9
    RESIDUAL_SLOT = 10
    RESIDUAL_IMAGE = 11
    RESIDUAL_WORK = 12
    # product, pool and depthwise: float32 limits of the clamp
    LOW = 13
    HIGH = 14
    # product
    ENTRIES = 15  # int32 offset in bytes, float32 weight
    ROWS = 16  # per filter: see Row
    MASK = 17  # which positions are pixels, see masked_by_bits
    TILES = 18  # per block: first byte in a plane, vectors
    TILE_BOUNDS = 19  # (first, end) for a thread alone, then the bounds for all threads
    ROW_BOUNDS = 20
    # resample, pool, mean, depthwise, gelu
    CHANNELS = 15
    X_PLANE = 16
    Y_PLANE = 17
    # resample, pool, mean, transpose, depthwise
    X_LINE = 18
    Y_LINE = 19
    HEIGHT = 20
    WIDTH = 21
    STRIDE = 22  # between columns, in elements
    # pool
    TAPS = 23  # int64 offsets in bytes; depthwise: per channel float32 weights, then the bias
    TAP_COUNT = 24
    # gelu
    POSITIONS = 18
    # mean
    SCALE = 22  # float32


FIELDS = 26
FIELD_BYTES = 8
# Of a filter: output offset, first and end byte of its entries, float32 bias, int32 offset of the
# residual.
ROW_BYTES = 32
ENTRY_BYTES = 8
TILE_BYTES = 16


def masked_by_bits(lanes: int) -> bool:
    """Whether a mask has a bit for every position, as AVX-512 takes them; else an int32, -1 for
    pixels and 0 between them."""
    return lanes == 16


def interleaved(vectors: int) -> int:
    """Separate sums per pixel, so that a short block need not wait for the last addition."""
    return {1: 4, 2: 4, 3: 2, 4: 2}.get(vectors, 1)
