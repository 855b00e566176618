"""3x3 convolutions of every channel by itself, line by line; needs llvmlite.

As sparse products these load each weight anew for every block of pixels, and with stride 2 they
copy their input first. Here the nine weights stay in registers for a whole plane.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from harness.sparse.native.builder import F32, FLOAT, PTR, Code, Value, int64
from harness.sparse.native.fields import DEPTHWISE_SIDE, DEPTHWISE_TAPS, Field

Pixels = Callable[[Code, Value, int, Value], Value]  # pointer, stride, how many
Put = Callable[[Code, Value, Value, Value], None]  # register, pointer, how many


class Depthwise:
    """Y = clamp(bias + sum over taps of weight * X), with stride 1 or 2; parts share channels."""

    def __init__(self, lanes: int, fma: ir.Function, pixels: Pixels, put: Put) -> None:
        """fma: LLVM's for `lanes` floats. pixels, put: how StepCode reads and writes some."""
        self.lanes, self.fma, self.pixels, self.put = lanes, fma, pixels, put

    def write(
        self, code: Code, step: Value, x: Value, y: Value, share: tuple[Value, Value]
    ) -> None:
        """The body of the step. x, y: addresses as numbers, x that of the first tap."""
        channels, stride = code.field(step, Field.CHANNELS), code.field(step, Field.STRIDE)
        part, parts = share
        first = code.udiv(code.mul(channels, part), parts)
        last = code.udiv(code.mul(channels, code.add(part, int64(1))), parts)
        for known in (1, 2):
            with code.if_then(code.icmp_signed("==", stride, int64(known))):
                with code.count(first, last) as channel:
                    source = code.add(x, code.mul(channel, code.field(step, Field.X_PLANE)))
                    target = code.add(y, code.mul(channel, code.field(step, Field.Y_PLANE)))
                    self._plane(code, step, channel, (source, target), known)

    def _plane(
        self, code: Code, step: Value, channel: Value, places: tuple[Value, Value], stride: int
    ) -> None:
        row = code.at(
            code.pointer_field(step, Field.TAPS),
            code.mul(channel, int64(FLOAT * (DEPTHWISE_TAPS + 1))),
        )
        numbers = [code.get(F32, row, FLOAT * n) for n in range(DEPTHWISE_TAPS + 1)]
        *weights, bias = (code.splat(number, self.lanes) for number in numbers)
        limits = [
            code.splat(code.float_field(step, field), self.lanes)
            for field in (Field.LOW, Field.HIGH)
        ]
        pitch, width = code.field(step, Field.X_LINE), code.field(step, Field.WIDTH)
        with code.count(int64(0), code.field(step, Field.HEIGHT)) as line:
            source = code.add(places[0], code.mul(line, code.mul(pitch, int64(stride))))
            target = code.add(places[1], code.mul(line, code.field(step, Field.Y_LINE)))
            with code.count(int64(0), width, self.lanes) as column:
                left = code.sub(width, column)
                total = bias
                for number, weight in enumerate(weights):
                    down, right = divmod(number, DEPTHWISE_SIDE)
                    at = code.add(source, code.mul(column, int64(FLOAT * stride)))
                    at = code.add(at, code.mul(pitch, int64(down)))
                    at = code.at(code.inttoptr(at, PTR), FLOAT * right)
                    pixels = self.pixels(code, at, stride, left)
                    total = code.call(self.fma, [pixels, weight, total])
                total = code.smaller(code.larger(total, limits[0]), limits[1])
                to = code.inttoptr(code.add(target, code.mul(column, int64(FLOAT))), PTR)
                self.put(code, total, to, left)
