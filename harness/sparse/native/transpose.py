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
        goal: tuple[Value, Value | None],
        share: tuple[Value, Value],
    ) -> None:
        """The body of the step. x: an address as a number. goal: those of y and of what is added,
        which lies like y. share: part, parts.
        """
        y, added = goal
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
                beside = None if added is None else self._place(code, added, column, y_line, row)
                for number, value in enumerate(found):
                    keep = code.select(self._has(code, wide, number), high, self._none())
                    line = code.mul(y_line, int64(number))
                    if beside is not None:
                        value = code.fadd(value, self._some(code, code.at(beside, line), keep))
                    code.call(self.store, [value, code.at(target, line), I32(FLOAT), keep])

    def _place(self, code: Code, base: Value, line: Value, pitch: Value, column: Value) -> Value:
        at = code.add(base, code.add(code.mul(line, pitch), code.mul(column, int64(FLOAT))))
        return code.inttoptr(at, PTR)

    def _read(
        self, code: Code, source: Value, pitch: Value, known: tuple[Value, Value]
    ) -> list[Value]:
        """The rows of a tile; zeros, and no access, where there are none."""
        high, wide = known
        return [
            self._some(
                code,
                code.at(source, code.mul(pitch, int64(number))),
                code.select(self._has(code, high, number), wide, self._none()),
            )
            for number in range(self.lanes)
        ]

    def _some(self, code: Code, pointer: Value, known: Value) -> Value:
        """The known lanes, and zeros; reads no others."""
        return code.call(self.load, [pointer, I32(FLOAT), known, ir.Constant(self.vector, None)])

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
