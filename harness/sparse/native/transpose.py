"""Rows of features to planes and back: a transposition in tiles of registers; needs llvmlite.

On the way back other rows can be added, as residual connections of transformers do.
"""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from harness.sparse.native.builder import F32, FLOAT, I1, I32, PTR, Code, Value, int64
from harness.sparse.native.fields import Field


class Transposition:
    """Y[column, row] = X[row, column], in tiles of lanes x lanes; parts share the columns."""

    def __init__(self, lanes: int, load: ir.Function, store: ir.Function) -> None:
        """load, store: LLVM's masked ones for registers of `lanes` floats."""
        self.lanes, self.load, self.store = lanes, load, store
        self.vector = ir.VectorType(F32, lanes)

    def write(
        self,
        code: Code,
        step: Value,
        x: Value,
        goal: Sequence[Value],
        share: tuple[Value, Value],
    ) -> None:
        """The body of the step. x: an address as a number. goal: those of y and of the residual,
        which lies like y; 0: none. share: part, parts.
        """
        y, residual = goal
        adds = code.icmp_unsigned("!=", residual, int64(0))
        rows, columns = code.field(step, Field.HEIGHT), code.field(step, Field.WIDTH)
        x_line, y_line = code.field(step, Field.X_LINE), code.field(step, Field.Y_LINE)
        part, parts = share
        tiles = code.udiv(code.add(columns, int64(self.lanes - 1)), int64(self.lanes))
        first = code.udiv(code.mul(tiles, part), parts)
        last = code.udiv(code.mul(tiles, code.add(part, int64(1))), parts)
        with code.count(first, last) as tile:
            column = code.mul(tile, int64(self.lanes))
            wide = code.below(code.sub(columns, column), self.lanes)
            with code.count(int64(0), rows, self.lanes) as row:
                high = code.below(code.sub(rows, row), self.lanes)
                source = self._place(code, x, row, x_line, column)
                target = self._place(code, y, column, y_line, row)
                read = self._read(code, source, x_line, self._known(code, high, wide))
                found, known = self._turned(code, read), self._known(code, wide, high)
                with code.if_else(adds) as (summed, alone):
                    with summed:
                        beside = self._place(code, residual, column, y_line, row)
                        others = self._read(code, beside, y_line, known)
                        sums = [code.fadd(*pair) for pair in zip(found, others, strict=True)]
                        self._write(code, sums, target, y_line, known)
                    with alone:
                        self._write(code, found, target, y_line, known)

    def _place(self, code: Code, base: Value, line: Value, pitch: Value, column: Value) -> Value:
        at = code.add(base, code.add(code.mul(line, pitch), code.mul(column, int64(FLOAT))))
        return code.inttoptr(at, PTR)

    def _known(self, code: Code, lines: Value, lanes: Value) -> list[Value]:
        """Of every line of a tile the lanes that there are: none beyond the last line."""
        none = ir.Constant(ir.VectorType(I1, self.lanes), None)
        return [
            code.select(code.extract_element(lines, I32(number)), lanes, none)
            for number in range(self.lanes)
        ]

    def _read(self, code: Code, source: Value, pitch: Value, known: list[Value]) -> list[Value]:
        """The lines of a tile; zeros, and no access, where there is nothing."""
        zeros = ir.Constant(self.vector, None)
        return [
            code.call(self.load, [self._line(code, source, pitch, n), I32(FLOAT), lanes, zeros])
            for n, lanes in enumerate(known)
        ]

    def _write(
        self, code: Code, tile: list[Value], target: Value, pitch: Value, known: list[Value]
    ) -> None:
        for n, (value, lanes) in enumerate(zip(tile, known, strict=True)):
            code.call(self.store, [value, self._line(code, target, pitch, n), I32(FLOAT), lanes])

    def _line(self, code: Code, tile: Value, pitch: Value, number: int) -> Value:
        return code.at(tile, code.mul(pitch, int64(number)))

    def _turned(self, code: Code, tile: Sequence[Value]) -> list[Value]:
        """The transposed tile: squares of 1, 2, 4, ... change places with those across."""
        found, apart = list(tile), 1
        numbers = range(self.lanes)
        while apart < self.lanes:
            upper = [n + self.lanes - apart if n & apart else n for n in numbers]
            lower = [n + self.lanes if n & apart else n + apart for n in numbers]
            for n in numbers:
                if not n & apart:
                    pair = found[n], found[n + apart]
                    found[n] = code.shuffle_vector(*pair, self._order(upper))
                    found[n + apart] = code.shuffle_vector(*pair, self._order(lower))
            apart *= 2
        return found

    def _order(self, lanes: list[int]) -> Value:
        return ir.Constant(ir.VectorType(I32, self.lanes), lanes)
