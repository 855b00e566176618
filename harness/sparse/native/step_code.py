"""What each step does to one image, in LLVM's intermediate language; needs llvmlite."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llvmlite import ir

from harness.sparse.native.builder import (
    F32,
    FLOAT,
    I1,
    I32,
    I64,
    PTR,
    VOID,
    Code,
    Value,
    int64,
)
from harness.sparse.native.depthwise import Depthwise
from harness.sparse.native.fields import (
    ENTRY_BYTES,
    MOST_VECTORS,
    ROW_BYTES,
    TILE_BYTES,
    Field,
    StepKind,
    interleaved,
    masked_by_bits,
)
from harness.sparse.native.gelu import Gelu
from harness.sparse.native.transpose import Transposition


class StepCode:
    """One function per kind of step, for registers of `lanes` floats; str() is LLVM assembly."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.vector = ir.VectorType(F32, lanes)
        self.module = ir.Module("sparse")
        width = 32 * lanes
        self.attributes = [
            f'"prefer-vector-width"="{width}"',
            f'"min-legal-vector-width"="{width}"',
        ]
        self.fma = self._intrinsic(f"llvm.fmuladd.v{lanes}f32", self.vector, [self.vector] * 3)
        masked = [self.vector, PTR, I32, ir.VectorType(I1, lanes)]
        self.masked_store = self._intrinsic(f"llvm.masked.store.v{lanes}f32.p0", VOID, masked)
        loaded = [PTR, I32, ir.VectorType(I1, lanes), self.vector]
        self.masked_load = self._intrinsic(f"llvm.masked.load.v{lanes}f32.p0", self.vector, loaded)
        blocks = {vectors: self._block(vectors) for vectors in range(1, MOST_VECTORS + 1)}
        self.steps: dict[int, ir.Function] = {
            StepKind.PRODUCT: self._product(blocks),
            StepKind.RESAMPLE: self._resample(),
            StepKind.POOL: self._pool(),
            StepKind.MEAN: self._mean(),
            StepKind.TRANSPOSE: self._transpose(),
            StepKind.DEPTHWISE: self._depthwise(),
            StepKind.GELU: self._gelu(),
        }

    def __str__(self) -> str:
        return str(self.module)

    def _intrinsic(self, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
        return ir.Function(self.module, ir.FunctionType(result, arguments), name)

    def _function(self, name: str, arguments: Sequence[ir.Type]) -> tuple[ir.Function, Code]:
        function = ir.Function(self.module, ir.FunctionType(VOID, arguments), name)
        for attribute in self.attributes:
            function.attributes._known = function.attributes._known | {attribute}
            function.attributes.add(attribute)
        if name not in ("run", "team"):
            function.linkage = "internal"
            function.attributes.add("noinline")
        return function, Code(function.append_basic_block("entry"))

    def _vector(self, code: Code, pointer: Value, index: int) -> Value:
        return code.get(self.vector, pointer, FLOAT * self.lanes * index)

    def _block(self, vectors: int) -> ir.Function:
        """Some filters at `vectors` registers of pixels: the sparse product itself."""
        function, code = self._function(f"block_{vectors}", [PTR] * 7 + [F32] * 2)
        x, y, residual, entries, row, end, mask, *limits = function.args
        sums = [
            [code.local(self.vector) for _ in range(vectors)] for _ in range(interleaved(vectors))
        ]
        first, last = (code.ptrtoint(place, I64) for place in (row, end))
        with code.count(first, last, ROW_BYTES) as address:
            row = code.inttoptr(address, PTR)
            self._sum(code, sums, x, entries, row)
            offset = code.get(I64, row, 0, 8)
            beside = code.sext(code.get(I32, row, 28), I64)
            self._finish(code, sums, code.at(y, offset), residual, beside, mask, limits)
        code.ret_void()
        return function

    def _sum(
        self, code: Code, sums: list[list[Value]], x: Value, entries: Value, row: Value
    ) -> None:
        """sums += weights * pixels over the entries of one filter."""
        bias = code.splat(code.get(F32, row, 24), self.lanes)
        for part in sums:
            for place in part:
                code.store(bias if part is sums[0] else ir.Constant(self.vector, None), place)
        begin, end = code.get(I64, row, 8, 8), code.get(I64, row, 16, 8)
        with code.count(begin, end, ENTRY_BYTES * len(sums)) as at:
            for place, part in enumerate(sums):
                entry = code.at(entries, code.add(at, int64(ENTRY_BYTES * place)))
                pixels = code.at(x, code.sext(code.get(I32, entry), I64))
                weight = code.splat(code.get(F32, entry, 4), self.lanes)
                for index, total in enumerate(part):
                    value = self._vector(code, pixels, index)
                    code.store(
                        code.call(self.fma, [value, weight, code.load(total, typ=self.vector)]),
                        total,
                    )

    def _finish(
        self,
        code: Code,
        sums: list[list[Value]],
        y: Value,
        residual: Value,
        offset: Value,
        mask: Value,
        limits: Sequence[Value],
    ) -> None:
        """Add the parts and the residual, clamp (above only where there is a limit), clear what is
        no pixel, write."""
        total = sums[0]
        for index, place in enumerate(total):
            for part in sums[1:]:
                both = code.fadd(*(code.load(p[index], typ=self.vector) for p in (sums[0], part)))
                code.store(both, place)
        with code.if_then(code.icmp_unsigned("!=", code.ptrtoint(residual, I64), int64(0))):
            for index, place in enumerate(total):
                added = self._vector(code, code.at(residual, offset), index)
                code.store(code.fadd(code.load(place, typ=self.vector), added), place)
        low, high = (code.splat(limit, self.lanes) for limit in limits)
        with code.if_then(code.fcmp_ordered("<", limits[1], ir.Constant(F32, math.inf))):
            for place in total:
                code.store(code.smaller(code.load(place, typ=self.vector), high), place)
        for index, place in enumerate(total):
            value = self._kept(
                code, code.larger(code.load(place, typ=self.vector), low), mask, index
            )
            code.store(value, code.at(y, FLOAT * self.lanes * index), align=4)

    def _kept(self, code: Code, value: Value, mask: Value, index: int) -> Value:
        """The pixels of a register, and zeros; index: its number in the block that the mask is
        of."""
        if masked_by_bits(self.lanes):
            bits = code.get(ir.IntType(self.lanes), mask, self.lanes // 8 * index, 2)
            known = code.bitcast(bits, ir.VectorType(I1, self.lanes))
            return code.select(known, value, ir.Constant(self.vector, None))
        whole = ir.VectorType(I32, self.lanes)
        keep = code.get(whole, mask, FLOAT * self.lanes * index)
        return code.bitcast(code.and_(code.bitcast(value, whole), keep), self.vector)

    def _step(self, name: str) -> tuple[ir.Function, Code]:
        """A step on one image: (fields, images handed in, slot, image, its number among those in
        work, part, parts)."""
        return self._function(name, [PTR, *[I64] * 6])

    def _operand(self, code: Code, arguments: Sequence[Value], field: int) -> Value:
        """Where an operand of this image lies, as a number."""
        step, images, slot, image, work, *_ = arguments
        base = code.field(step, field)
        if field == Field.X:
            base = code.add(base, code.mul(images, code.field(step, Field.GIVEN)))
        for number, index in enumerate((slot, image, work), 1):
            base = code.add(base, code.mul(index, code.field(step, field + number)))
        return base

    def _bounds(self, code: Code, step: Value, field: int, part: Value) -> tuple[Value, Value]:
        """What a share has to do, from the table of bounds that a field points at."""
        at = code.at(code.pointer_field(step, field), code.mul(part, int64(16)))
        return code.get(I64, at, 0, 8), code.get(I64, at, 8, 8)

    def _product(self, blocks: dict[int, ir.Function]) -> ir.Function:
        function, code = self._step("product")
        step, *_, part, parts = function.args
        alone = code.icmp_unsigned("==", parts, int64(1))
        start = code.select(alone, int64(0), code.add(part, int64(1)))
        tile, last_tile = self._bounds(code, step, Field.TILE_BOUNDS, start)
        row, last_row = self._bounds(code, step, Field.ROW_BOUNDS, start)
        x, y = (
            code.inttoptr(self._operand(code, function.args, field), PTR)
            for field in (Field.X, Field.Y)
        )
        residual = self._operand(code, function.args, Field.RESIDUAL)
        none = code.icmp_unsigned("==", code.field(step, Field.RESIDUAL), int64(0))
        low, high = code.float_field(step, Field.LOW), code.float_field(step, Field.HIGH)
        rows, entries, mask, tiles = (
            code.pointer_field(step, field)
            for field in (Field.ROWS, Field.ENTRIES, Field.MASK, Field.TILES)
        )
        first, last = (code.at(rows, code.mul(n, int64(ROW_BYTES))) for n in (row, last_row))
        with code.count(tile, last_tile) as index:
            at = code.at(tiles, code.mul(index, int64(TILE_BYTES)))
            place, vectors = code.get(I64, at, 0, 8), code.get(I64, at, 8, 8)
            beside = code.select(none, int64(0), code.add(residual, place))
            arguments = [code.at(x, place), code.at(y, place), code.inttoptr(beside, PTR)]
            bits = 8 * FLOAT if masked_by_bits(self.lanes) else 1  # positions in a byte, times 4
            known = code.at(mask, code.udiv(place, int64(bits)))
            arguments += [entries, first, last, known, low, high]
            self._switch(code, vectors, {n: (block, arguments) for n, block in blocks.items()})
        code.ret_void()
        return function

    def _switch(
        self, code: Code, value: Value, cases: dict[int, tuple[ir.Function, list[Value]]]
    ) -> None:
        """Call the function of one case."""
        done = code.append_basic_block("chosen")
        switch = code.switch(value, done)
        for number, (function, arguments) in cases.items():
            block = code.append_basic_block("case")
            switch.add_case(int64(number), block)
            code.position_at_end(block)
            code.call(function, arguments)
            code.branch(done)
        code.position_at_end(done)

    def _before_last(self, code: Code, width: Value) -> Value:
        """Where the last register of a line begins: those before it are full."""
        last = code.sub(width, int64(1))
        return code.sub(last, code.urem(last, int64(self.lanes)))

    def _full(self, code: Code, pointer: Value, stride: int) -> Value:
        """Every stride-th float (1 or 2) for a whole register; others are read as well."""
        first = self._vector(code, pointer, 0)
        if stride == 1:
            return first
        even = ir.Constant(ir.VectorType(I32, self.lanes), list(range(0, 2 * self.lanes, 2)))
        return code.shuffle_vector(first, self._vector(code, pointer, 1), even)

    def _pixels(self, code: Code, pointer: Value, stride: int, count: Value) -> Value:
        """The first `count` of every stride-th float (1 or 2), and zeros; reads no others."""
        zeros = ir.Constant(self.vector, None)
        if stride == 1:
            known = code.below(count, self.lanes)
            return code.call(self.masked_load, [pointer, I32(FLOAT), known, zeros])
        span = code.sub(code.mul(count, int64(2)), int64(1))
        halves = [
            code.call(
                self.masked_load,
                [
                    code.at(pointer, FLOAT * self.lanes * half),
                    I32(FLOAT),
                    code.below(code.sub(span, int64(self.lanes * half)), self.lanes),
                    zeros,
                ],
            )
            for half in range(2)
        ]
        even = ir.Constant(ir.VectorType(I32, self.lanes), list(range(0, 2 * self.lanes, 2)))
        return code.shuffle_vector(*halves, even)

    @contextmanager
    def _lines(self, code: Code, arguments: Sequence[Value]) -> Iterator[tuple[Value, Value]]:
        """Every line of this part's channels: where it is read and where it is written."""
        step, *_, part, parts = arguments
        x, y = (self._operand(code, arguments, field) for field in (Field.X, Field.Y))
        channels = code.field(step, Field.CHANNELS)
        first = code.sdiv(code.mul(channels, part), parts)
        last = code.sdiv(code.mul(channels, code.add(part, int64(1))), parts)
        with code.count(first, last) as channel:
            with code.count(int64(0), code.field(step, Field.HEIGHT)) as line:
                places = []
                for base, plane, pitch in (
                    (x, Field.X_PLANE, Field.X_LINE),
                    (y, Field.Y_PLANE, Field.Y_LINE),
                ):
                    at = code.add(base, code.mul(channel, code.field(step, plane)))
                    at = code.add(at, code.mul(line, code.field(step, pitch)))
                    places.append(code.inttoptr(at, PTR))
                yield places[0], places[1]

    def _resample(self) -> ir.Function:
        function, code = self._step("resample")
        step = function.args[0]
        width, stride = code.field(step, Field.WIDTH), code.field(step, Field.STRIDE)
        whole = self._before_last(code, width)
        with self._lines(code, function.args) as (source, target):
            for known in (1, 2):
                with code.if_then(code.icmp_signed("==", stride, int64(known))):
                    with code.count(int64(0), whole, self.lanes) as column:
                        at = code.at(source, code.mul(column, int64(FLOAT * known)))
                        value = self._full(code, at, known)
                        to = code.at(target, code.mul(column, int64(FLOAT)))
                        code.store(value, to, align=4)
                    count = code.sub(width, whole)
                    at = code.at(source, code.mul(whole, int64(FLOAT * known)))
                    value = self._pixels(code, at, known, count)
                    self._put(code, value, code.at(target, code.mul(whole, int64(FLOAT))), count)
            with code.if_then(code.icmp_signed(">", stride, int64(2))):
                with code.count(int64(0), width) as column:
                    at = code.mul(code.mul(column, stride), int64(FLOAT))
                    value = code.get(F32, source, at)
                    code.store(value, code.at(target, code.mul(column, int64(FLOAT))), align=4)
        code.ret_void()
        return function

    def _put(self, code: Code, value: Value, pointer: Value, count: Value) -> None:
        """Write the first `count` lanes."""
        known = code.below(count, self.lanes)
        code.call(self.masked_store, [value, pointer, I32(FLOAT), known])

    def _pool(self) -> ir.Function:
        function, code = self._step("pool")
        step = function.args[0]
        width, stride = code.field(step, Field.WIDTH), code.field(step, Field.STRIDE)
        taps, tap_count = code.pointer_field(step, Field.TAPS), code.field(step, Field.TAP_COUNT)
        low, high = (
            code.splat(code.float_field(step, field), self.lanes)
            for field in (Field.LOW, Field.HIGH)
        )
        best = code.local(self.vector)
        with self._lines(code, function.args) as (source, target):
            for known in (1, 2):
                with code.if_then(code.icmp_signed("==", stride, int64(known))):
                    with code.count(int64(0), width, self.lanes) as column:
                        count = code.sub(width, column)
                        code.store(low, best)
                        at = code.at(source, code.mul(column, int64(FLOAT * known)))
                        with code.count(int64(0), tap_count) as tap:
                            shift = code.get(I64, taps, code.mul(tap, int64(8)), 8)
                            value = self._pixels(code, code.at(at, shift), known, count)
                            code.store(code.larger(value, code.load(best, typ=self.vector)), best)
                        value = code.smaller(code.load(best, typ=self.vector), high)
                        self._put(
                            code, value, code.at(target, code.mul(column, int64(FLOAT))), count
                        )
        code.ret_void()
        return function

    def _mean(self) -> ir.Function:
        function, code = self._step("mean")
        step, *_, part, parts = function.args
        x, y = (self._operand(code, function.args, field) for field in (Field.X, Field.Y))
        channels = code.field(step, Field.CHANNELS)
        first = code.sdiv(code.mul(channels, part), parts)
        last = code.sdiv(code.mul(channels, code.add(part, int64(1))), parts)
        total, width = code.local(self.vector), code.field(step, Field.WIDTH)
        with code.count(first, last) as channel:
            at = code.inttoptr(code.add(x, code.mul(channel, code.field(step, Field.X_PLANE))), PTR)
            code.store(ir.Constant(self.vector, None), total)
            with code.count(int64(0), code.field(step, Field.HEIGHT)) as line:
                row = code.at(at, code.mul(line, code.field(step, Field.X_LINE)))
                with code.count(int64(0), width, self.lanes) as column:
                    place = code.at(row, code.mul(column, int64(FLOAT)))
                    value = self._pixels(code, place, 1, code.sub(width, column))
                    code.store(code.fadd(code.load(total, typ=self.vector), value), total)
            value = code.load(total, typ=self.vector)
            whole = code.extract_element(value, I32(0))
            for lane in range(1, self.lanes):
                whole = code.fadd(whole, code.extract_element(value, I32(lane)))
            to = code.add(y, code.mul(channel, code.field(step, Field.Y_PLANE)))
            scale = code.float_field(step, Field.SCALE)
            code.store(code.fmul(whole, scale), code.inttoptr(to, PTR), align=4)
        code.ret_void()
        return function

    def _transpose(self) -> ir.Function:
        function, code = self._step("transpose")
        step, *_, part, parts = function.args
        x, *goal = (
            self._operand(code, function.args, field)
            for field in (Field.X, Field.Y, Field.RESIDUAL)
        )
        made = Transposition(self.lanes, self.masked_load, self.masked_store)
        made.write(code, step, x, goal, (part, parts))
        code.ret_void()
        return function

    def _depthwise(self) -> ir.Function:
        function, code = self._step("depthwise")
        step, *_, part, parts = function.args
        x, y = (self._operand(code, function.args, field) for field in (Field.X, Field.Y))
        made = Depthwise(self.lanes, self.fma, self._pixels, self._put)
        made.write(code, step, x, y, (part, parts))
        code.ret_void()
        return function

    def _gelu(self) -> ir.Function:
        function, code = self._step("gelu")
        step, *_, part, parts = function.args
        x = self._operand(code, function.args, Field.X)
        Gelu(self.lanes, self.fma).write(code, step, x, (part, parts))
        code.ret_void()
        return function
