"""The sparse kernels as machine code for this processor, made at run time by LLVM (llvmlite).

A program is a list of steps, each described by one row of 64-bit fields (see `Field`); threads
run it together, every thread on images of its own or all on a share of each image. The main step
is a sparse product on planes (see planes.layout): registers hold some pixels of one filter while
    y[filter, p] = clamp(bias + residual[filter, p] + sum over non-zeros of w * x[p + offset])
is summed, so weights are read once per block of pixels and outputs written once.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Kernels:
    """Machine code: `run` is the address-bound function, `team` the address of what threads of a
    parallel region call, `lanes` floats fill one register."""

    run: Any
    team: int
    lanes: int
    pause: int
    keep_alive: object


@cache
def kernels() -> Kernels | None:
    """The compiled kernels; None without llvmlite."""
    try:
        import llvmlite.binding as llvm
    except ImportError:
        return None
    features = llvm.get_host_cpu_features()
    return kernels_of(16 if features.get("avx512f") else 8 if features.get("avx2") else 4)


def kernels_of(lanes: int) -> Kernels:
    """Kernels for registers of `lanes` floats; this processor must have such. Needs llvmlite."""
    import llvmlite.binding as llvm

    from harness.sparse.native.schedule import KernelModule

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features()
    module = llvm.parse_assembly(str(KernelModule(lanes)))
    module.verify()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features.flatten(), opt=3
    )
    tuning = llvm.create_pipeline_tuning_options(3)
    tuning.loop_vectorization = tuning.slp_vectorization = tuning.loop_unrolling = False
    llvm.create_pass_builder(machine, tuning).getModulePassManager().run(
        module, llvm.create_pass_builder(machine, tuning)
    )
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    signature = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 10)
    run, team = (engine.get_function_address(name) for name in ("run", "team"))
    return Kernels(signature(run), team, lanes, _yield(), engine)


def _yield() -> int:
    """Address of what lets other threads run while one waits; 0 where there is none."""
    try:
        function = ctypes.CDLL(None).sched_yield
    except (AttributeError, OSError, TypeError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0
