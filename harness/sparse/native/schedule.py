"""How threads run the steps: images of their own first, then shares of those left over.

A program has a tail, which may be empty, for several images at a time: `work` of them go through
the steps before it one after the other, then through those of the tail together.
"""

from __future__ import annotations

from llvmlite import ir

from harness.sparse.native.builder import I32, I64, PTR, Value, int64
from harness.sparse.native.fields import FIELD_BYTES, FIELDS, Field
from harness.sparse.native.step_code import StepCode

SPINS = 1 << 12  # looks at the barrier before a waiting thread lets others run


class KernelModule(StepCode):
    """The steps and `run`, which every thread calls."""

    def __init__(self, lanes: int) -> None:
        super().__init__(lanes)
        barrier = self._barrier()
        self._team(self._run(self._steps(barrier), barrier))

    def _barrier(self) -> ir.Function:
        """Wait until all threads have come here: (counter, threads, function that yields)."""
        function, code = self._function("barrier", [I64, I64, I64])
        counter, threads, pause = function.args
        counter = code.inttoptr(counter, PTR)
        ticket = code.atomic_rmw("add", counter, int64(1), "seq_cst")
        goal = code.mul(code.add(code.udiv(ticket, threads), int64(1)), threads)
        spins = code.local(I64)
        code.store(int64(0), spins)
        look, again, tired, done = (
            code.append_basic_block(name) for name in ("look", "again", "tired", "done")
        )
        code.branch(look)
        code.position_at_end(look)
        seen = code.load_atomic(counter, "seq_cst", 8, typ=I64)
        code.cbranch(code.icmp_unsigned(">=", seen, goal), done, again)
        code.position_at_end(again)
        count = code.add(code.load(spins, typ=I64), int64(1))
        code.store(count, spins)
        known = code.icmp_unsigned("!=", pause, int64(0))
        late = code.icmp_unsigned(">", count, int64(SPINS))
        code.cbranch(code.and_(known, late), tired, look)
        code.position_at_end(tired)
        code.call(code.inttoptr(pause, ir.FunctionType(I32, []).as_pointer()), [])
        code.branch(look)
        code.position_at_end(done)
        code.ret_void()
        return function

    def _steps(self, barrier: ir.Function) -> ir.Function:
        """All steps on one image: (first step, end, images handed in, slot, image, its number among
        those in work, part, parts, counter, pause)."""
        function, code = self._function("steps", [I64] * 10)
        program, end, images, slot, image, work, part, parts, counter, pause = function.args
        with code.count(program, end, FIELD_BYTES * FIELDS) as address:
            step = code.inttoptr(address, PTR)
            kind = code.field(step, Field.KIND)
            arguments = [step, images, slot, image, work, part, parts]
            self._switch(code, kind, {n: (one, arguments) for n, one in self.steps.items()})
            with code.if_then(code.icmp_unsigned(">", parts, int64(1))):
                code.call(barrier, [counter, parts, pause])
        code.ret_void()
        return function

    def _team(self, run: ir.Function) -> None:
        """What every thread of a parallel region calls, with the address of what it needs to know:
        (function that tells a thread's number, function that tells how many there are, program,
        tail, end, images, count, work, threads, pause, counter, whether so many threads came)."""
        function, code = self._function("team", [PTR])
        ask = ir.FunctionType(I32, []).as_pointer()
        number, found = (
            code.zext(
                code.call(code.inttoptr(code.get(I64, function.args[0], 8 * n, 8), ask), []), I64
            )
            for n in range(2)
        )
        *program, threads, pause = (code.get(I64, function.args[0], 8 * n, 8) for n in range(2, 10))
        counter = code.ptrtoint(code.at(function.args[0], 8 * 10), I64)
        with code.if_then(code.icmp_unsigned("==", found, threads)):
            code.call(run, [*program, number, threads, counter, pause])
            with code.if_then(code.icmp_unsigned("==", number, int64(0))):
                code.store(int64(1), code.at(function.args[0], 8 * 11), align=8)
        code.ret_void()

    def _run(self, steps: ir.Function, barrier: ir.Function) -> ir.Function:
        """What one thread does: whole images of its own, then its part of those left over:
        (program, tail, end, images, count, work, thread, threads, counter, pause)."""
        function, code = self._function("run", [I64] * 10)
        program, tail, end, images, count, work, thread, threads, counter, pause = function.args
        one, none = int64(1), int64(0)
        own = code.udiv(count, code.mul(threads, work))  # times that a thread has work
        first, left = code.mul(thread, own), code.mul(threads, own)
        last = code.udiv(code.add(count, code.sub(work, one)), work)
        whole, shared = [none, one, counter, pause], [thread, threads, counter, pause]

        def together(start: Value, stop: Value, slot: Value, share: list[Value]) -> None:
            with code.count(start, stop) as turn:
                begin = code.mul(turn, work)
                until = code.add(begin, work)
                until = code.select(code.icmp_unsigned("<", until, count), until, count)
                with code.count(begin, until) as image:
                    number = code.sub(image, begin)
                    code.call(steps, [program, tail, images, slot, image, number, *share])
                code.call(steps, [tail, end, images, slot, turn, none, *share])

        together(first, code.add(first, own), thread, whole)
        with code.if_then(code.icmp_unsigned("<", left, last)):
            with code.if_then(code.icmp_unsigned(">", threads, one)):
                code.call(barrier, [counter, threads, pause])
            together(left, last, none, shared)
        code.ret_void()
        return function
