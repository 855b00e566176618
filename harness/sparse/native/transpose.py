"""Rows of features to planes and back: a transposition in tiles of registers; needs llvmlite."""

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
        self, code: Code, step: Value, x: Value, y: Value, share: tuple[Value, Value]
    ) -> None:
        """The body of the step. x, y: addresses as numbers. share: part, parts."""
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
                found = self._turned(code, self._read(code, source, x_line, (high, wide)))
                for number, value in enumerate(found):
                    keep = code.select(self._has(code, wide, number), high, self._none())
                    at = code.at(target, code.mul(y_line, int64(number)))
                    code.call(self.store, [value, at, I32(FLOAT), keep])

    def _place(self, code: Code, base: Value, line: Value, pitch: Value, column: Value) -> Value:
        at = code.add(base, code.add(code.mul(line, pitch), code.mul(column, int64(FLOAT))))
        return code.inttoptr(at, PTR)

    def _read(
        self, code: Code, source: Value, pitch: Value, known: tuple[Value, Value]
    ) -> list[Value]:
        """The rows of a tile; zeros, and no access, where there are none."""
        high, wide = known
        return [
            code.call(
                self.load,
                [
                    code.at(source, code.mul(pitch, int64(number))),
                    I32(FLOAT),
                    code.select(self._has(code, high, number), wide, self._none()),
                    ir.Constant(self.vector, None),
                ],
            )
            for number in range(self.lanes)
        ]

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

    def _none(self) -> Value:
        return ir.Constant(ir.VectorType(I1, self.lanes), None)

    def _has(self, code: Code, lanes: Value, number: int) -> Value:
        return code.extract_element(lanes, I32(number))
