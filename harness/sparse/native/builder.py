"""What the native kernels are written with: LLVM's builder and a few idioms; needs llvmlite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from llvmlite import ir

from harness.sparse.native.fields import FIELD_BYTES

I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))
F32, VOID, PTR = ir.FloatType(), ir.VoidType(), ir.PointerType()
Value: TypeAlias = Any  # of llvmlite.ir
FLOAT = 4  # bytes


def int64(value: int) -> Value:
    return ir.Constant(I64, value)


class Code(ir.IRBuilder):
    """An IRBuilder with the few idioms that the kernels share."""

    def at(self, pointer: Value, offset: Value | int) -> Value:
        """pointer + offset, in bytes."""
        offset = int64(offset) if isinstance(offset, int) else offset
        return self.gep(pointer, [offset], source_etype=I8)

    def get(self, kind: ir.Type, pointer: Value, offset: Value | int = 0, align: int = 4) -> Value:
        return self.load(self.at(pointer, offset), align=align, typ=kind)

    def field(self, step: Value, field: int) -> Value:
        return self.get(I64, step, FIELD_BYTES * field, 8)

    def pointer_field(self, step: Value, field: int) -> Value:
        return self.inttoptr(self.field(step, field), PTR)

    def float_field(self, step: Value, field: int) -> Value:
        return self.get(F32, step, FIELD_BYTES * field)

    def local(self, kind: ir.Type) -> Value:
        with self.goto_entry_block():
            return self.alloca(kind)

    def splat(self, value: Value, lanes: int) -> Value:
        vector = ir.VectorType(value.type, lanes)
        first = self.insert_element(ir.Constant(vector, ir.Undefined), value, I32(0))
        zeros = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        return self.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)

    def below(self, count: Value, lanes: int) -> Value:
        """True in the first `count` of the lanes."""
        numbers = ir.Constant(ir.VectorType(I64, lanes), list(range(lanes)))
        return self.icmp_signed("<", numbers, self.splat(count, lanes))

    def larger(self, left: Value, right: Value) -> Value:
        """The larger of both; `left` where that is NaN."""
        return self.select(self.fcmp_ordered("<", left, right), right, left)

    def smaller(self, left: Value, right: Value) -> Value:
        return self.select(self.fcmp_ordered(">", left, right), right, left)

    @contextmanager
    def count(self, start: Value, stop: Value, step: int = 1) -> Iterator[Value]:
        """A loop over start, start + step, ... below stop; all int64."""
        before = self.block
        head, body, done = (self.append_basic_block(name) for name in ("head", "body", "done"))
        self.branch(head)
        self.position_at_end(head)
        index = self.phi(I64)
        index.add_incoming(start, before)
        self.cbranch(self.icmp_signed("<", index, stop), body, done)
        self.position_at_end(body)
        yield index
        index.add_incoming(self.add(index, int64(step)), self.block)
        self.branch(head)
        self.position_at_end(done)
