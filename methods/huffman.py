"""Exact Huffman code lengths, for counting bits without writing a stream.

The kept-up Huffman packages code an end-of-stream symbol along, which would change the counts,
and add a dependency for what the standard library's heap does.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush


def code_lengths(counts: Sequence[int]) -> list[int]:
    """Bits per symbol of an optimal prefix code; 0 for symbols that never occur.

    counts: occurrences >= 0 of each symbol. A single occurring symbol gets 1 bit. Ties are
    broken by position. sum(count * length) is the least possible of any prefix code.
    """
    lengths = [0] * len(counts)
    heap = [(count, symbol, [symbol]) for symbol, count in enumerate(counts) if count > 0]
    if len(heap) == 1:
        lengths[heap[0][1]] = 1
    heapify(heap)
    order = len(counts)
    while len(heap) > 1:
        rare, _, left = heappop(heap)
        next_rare, _, right = heappop(heap)
        for symbol in left + right:
            lengths[symbol] += 1
        heappush(heap, (rare + next_rare, order, left + right))
        order += 1
    return lengths


def coded_bits(counts: Sequence[int]) -> int:
    """Bits of a Huffman-coded stream with these symbol counts, its code table not included."""
    return sum(count * length for count, length in zip(counts, code_lengths(counts), strict=True))
