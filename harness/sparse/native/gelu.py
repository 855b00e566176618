"""x times the normal distribution's share below x, on whole planes; needs llvmlite."""

from __future__ import annotations

import math

from llvmlite import ir

from harness.sparse.native.builder import F32, FLOAT, I32, PTR, Code, Value, int64
from harness.sparse.native.fields import Field

# erf to 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
SLOPE = 0.3275911
TERMS = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
FARTHEST = 13.0  # beyond it the tail is zero in float32
ROUNDING = 1.5 * 2**23  # added to a small float32, it leaves the nearest integer in the last bits
POWERS = tuple(math.log(2) ** n / math.factorial(n) for n in range(7, -1, -1))  # of 2**x


class Gelu:
    """X = x * Phi(x) in place, for registers of `lanes` floats; parts share the channels."""

    def __init__(self, lanes: int, fma: ir.Function) -> None:
        self.lanes, self.fma = lanes, fma
        self.vector = ir.VectorType(F32, lanes)
        self.whole = ir.VectorType(I32, lanes)

    def write(self, code: Code, step: Value, x: Value, share: tuple[Value, Value]) -> None:
        """The body of the step. x: address as a number. share: part, parts."""
        channels, (part, parts) = code.field(step, Field.CHANNELS), share
        first = code.udiv(code.mul(channels, part), parts)
        last = code.udiv(code.mul(channels, code.add(part, int64(1))), parts)
        with code.count(first, last) as channel:
            plane = code.add(x, code.mul(channel, code.field(step, Field.X_PLANE)))
            with code.count(int64(0), code.field(step, Field.POSITIONS), self.lanes) as place:
                at = code.inttoptr(code.add(plane, code.mul(place, int64(FLOAT))), PTR)
                code.store(self._gelu(code, code.get(self.vector, at)), at, align=FLOAT)

    def _gelu(self, code: Code, x: Value) -> Value:
        """max(x, 0) minus |x| times half the tail beyond |x|, which is small on both sides."""
        size = code.smaller(code.larger(x, code.fneg(x)), self._all(FARTHEST))
        slope = self._sum(code, size, self._all(SLOPE / math.sqrt(2)), self._all(1.0))
        t = code.fdiv(self._all(1.0), slope)
        tail = code.fmul(self._polynomial(code, t, (*TERMS, 0.0)), self._exponential(code, size))
        lost = code.fmul(code.fmul(size, self._all(0.5)), tail)
        return code.fsub(code.larger(x, self._all(0.0)), lost)

    def _exponential(self, code: Code, x: Value) -> Value:
        """exp(-x * x / 2), as a power of two: that of the integer part goes to the exponent."""
        power = code.fmul(code.fmul(x, x), self._all(-0.5 / math.log(2)))
        moved = code.fadd(power, self._all(ROUNDING))
        rest = code.fsub(power, code.fsub(moved, self._all(ROUNDING)))
        count = code.shl(code.bitcast(moved, self.whole), self._bits(23))
        fraction = self._polynomial(code, rest, POWERS)
        return code.bitcast(code.add(code.bitcast(fraction, self.whole), count), self.vector)

    def _polynomial(self, code: Code, x: Value, terms: tuple[float, ...]) -> Value:
        """terms: the highest power's first."""
        total = self._all(terms[0])
        for term in terms[1:]:
            total = self._sum(code, total, x, self._all(term))
        return total

    def _sum(self, code: Code, left: Value, right: Value, added: Value) -> Value:
        return code.call(self.fma, [left, right, added])

    def _all(self, value: float) -> Value:
        return ir.Constant(self.vector, [value] * self.lanes)

    def _bits(self, value: int) -> Value:
        return ir.Constant(self.whole, [value] * self.lanes)
