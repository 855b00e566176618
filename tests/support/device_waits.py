"""What would make a program wait for its GPU, found without one.

`watched` looks at every call on tensors while it lasts: reading a value into Python, sizes that
depend on values, copies back to the host. On a CPU none of them waits; on a GPU each does.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

ROOT = Path(__file__).resolve().parents[2]
ROOMS = tuple(str(ROOT / room) for room in ("harness", "methods"))
aten = torch.ops.aten
# Python asks for the values themselves; on CPU tensors some of these never reach an operator.
READS = {
    getattr(Tensor, name): name
    for name in (
        *("item", "tolist", "numpy", "cpu", "nonzero", "__array__", "equal"),
        *("__bool__", "__int__", "__float__", "__index__", "__contains__"),
    )
}
# Operators that read a value, or whose result has a size that depends on values.
WAITING = {
    *(aten._local_scalar_dense.default, aten.item.default, aten.equal.default),
    *(aten.nonzero.default, aten.masked_select.default, aten.is_nonzero.default),
    *(aten._unique2.default, aten.unique_dim.default, aten.unique_consecutive.default),
    *(aten.repeat_interleave.Tensor, aten.bincount.default, aten.allclose.default),
}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


@contextmanager
def watched() -> Iterator[list[str]]:
    """Fills a list with one line per call that waits: what it is and which line of ours made it."""
    found: list[str] = []
    with _Calls(found), _Operators(found):
        yield found


class _Calls(TorchFunctionMode):
    """Functions and methods of tensors as Python calls them; generators of another device."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func in READS:
            self.found.append(f"{READS[func]} in {_caller()}")
            with torch._C.DisableTorchFunction():
                return func(*args, **given)
        out = func(*args, **given)
        generator = given.get("generator")
        if generator is not None and {_device(generator)} != _devices(out):
            self.found.append(f"{_device(generator)} numbers from {_caller()}")
        return out


class _Operators(TorchDispatchMode):
    """Operators, also those that C++ calls."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        before = _devices((args, given))
        waits = func in WAITING or (func in INDEXING and _by_mask(args[1]))
        out = func(*args, **given)
        if waits or ("cuda" in before and _devices(out) == {"cpu"}):
            self.found.append(f"{func} in {_caller()}")
        return out


class FakeGenerator(torch.Generator):
    """A generator that says where it was asked to be, and draws on the CPU."""

    def __new__(cls, device: torch.device | str = "cpu") -> FakeGenerator:
        made: FakeGenerator = super().__new__(cls, "cpu")
        return made

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.asked = torch.device(device).type


def _device(generator: torch.Generator) -> str:
    return getattr(generator, "asked", generator.device.type)


def _devices(values: Any) -> set[str]:
    return {value.device.type for value in tree_iter(values) if isinstance(value, Tensor)}


def _by_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _caller() -> str:
    """The innermost line of the project on the stack."""
    for frame in reversed(traceback.extract_stack()):
        if frame.filename.startswith(ROOMS):
            return f"{Path(frame.filename).relative_to(ROOT)}: {frame.line}"
    return "no line of the project"
