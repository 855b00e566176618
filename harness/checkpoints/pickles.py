"""A pickle read as a description: no class is looked up, nothing is imported, nothing is called.

A stack machine over the opcodes that Python's own `pickletools` takes apart. Its time and memory
grow with the length of the file, never with what the file says.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from harness.checkpoints.claimed_tensors import Storage
from harness.checkpoints.pickle_names import Inert, Name, allowed, key_of, made, storage
from harness.errors import NotACheckpoint, UnsafePickle

MAX_OPERATIONS = 5_000_000  # a state dict has about 40 per tensor, its optimizer twice as many
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_MARK = object()


def read(file: BinaryIO, also: frozenset[str] = frozenset()) -> tuple[Any, dict[str, Storage]]:
    """The pickle that begins where `file` stands, which it then leaves behind; its storages.

    Containers, numbers and text are themselves; tensors are claims; everything else is an Inert
    or a Name. also: globals that are allowed beside the common ones. Raises UnsafePickle naming
    the first other global, NotACheckpoint if the pickle is damaged.
    """
    machine = _Machine(also)
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if number > MAX_OPERATIONS:
                raise ValueError(f"more than {MAX_OPERATIONS} operations")
            machine.run(opcode.name, argument)
        return machine.stack.pop(), machine.storages
    except (UnsafePickle, NotACheckpoint):
        raise
    except Exception as error:  # nonsense can fail in any way
        first = (str(error).splitlines() or [""])[0][:120]
        msg = f"file is a damaged pickle ({type(error).__name__}: {first})."
        raise NotACheckpoint(msg) from error


class _Machine:
    """The stack, with the memo beside it."""

    def __init__(self, also: frozenset[str]) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}
        self._also = also

    def run(self, opcode: str, argument: Any) -> None:
        if opcode in _PUSHED:
            self.stack.append(text(argument) if isinstance(argument, str) else argument)
        elif opcode in _BUILT:
            self.stack.append(_BUILT[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"opcode {opcode}")

    def _marked(self) -> list[Any]:
        """Everything above the last mark, which goes with it."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def name(self, argument: str) -> None:
        module, _, leaf = argument.partition(" ")
        dotted = f"{_PYTHON_2.get(module, module)}.{leaf}"
        if not allowed(dotted, self._also):
            raise UnsafePickle(_refused(dotted))
        self.stack.append(Name(dotted))

    def name_from_stack(self, _: Any) -> None:
        leaf, module = self.stack.pop(), self.stack.pop()
        self.name(f"{module} {leaf}")

    def call(self, _: Any) -> None:
        args, called = self.stack.pop(), self.stack.pop()
        self.stack.append(made(called, args))

    def call_with_keywords(self, _: Any) -> None:
        self.stack.pop()
        self.call(None)

    def build(self, _: Any) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        if isinstance(built, Inert):
            built.state = state  # of all other things the state says nothing that is needed

    def append(self, _: Any) -> None:
        value = self.stack.pop()
        self._extend([value])

    def extend(self, _: Any) -> None:
        self._extend(self._marked())

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("something is appended to what is no list")
        self.stack[-1].extend(values)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def set_items(self, _: Any) -> None:
        self._update(self._marked())

    def _update(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not dict:
            raise ValueError("an item is set in what is no dict")
        self.stack[-1].update(_pairs(items))

    def drop_marked(self) -> None:
        self._marked()

    def marked_as(self, make: Callable[[list[Any]], Any]) -> None:
        self.stack.append(make(self._marked()))

    def tuple_of(self, length: int) -> None:
        items = tuple(self.stack[-length:])
        del self.stack[-length:]
        self.stack.append(items)

    def remember(self, index: int | None) -> None:
        self.memo[len(self.memo) if index is None else index] = self.stack[-1]

    def persistent(self, _: Any) -> None:
        stored = storage(self.stack.pop())
        self.storages[stored.key] = stored
        self.stack.append(stored)


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    for key, value in zip(items[::2], items[1::2], strict=True):
        yield key_of(key), value


def text(value: str) -> str:
    """`value` without the lone surrogates that no file can be written with."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def _refused(name: str) -> str:
    return (
        f"file asks for {name!r}, which is outside the allow-list of its format. "
        "A checkpoint needs no code of its own; this one was not opened and nothing was executed."
    )


_PUSHED = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"}
    | {"BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_BUILT: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "GLOBAL": _Machine.name,
    "STACK_GLOBAL": _Machine.name_from_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "BUILD": _Machine.build,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "ADDITEMS": _Machine.extend,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "DICT": lambda m, _: m.marked_as(lambda items: dict(_pairs(items))),
    "LIST": lambda m, _: m.marked_as(list),
    "TUPLE": lambda m, _: m.marked_as(tuple),
    "FROZENSET": lambda m, _: m.marked_as(list),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "PUT": _Machine.remember,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "GET": lambda m, index: m.stack.append(m.memo[index]),
    "BINGET": lambda m, index: m.stack.append(m.memo[index]),
    "LONG_BINGET": lambda m, index: m.stack.append(m.memo[index]),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.drop_marked(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "BINPERSID": _Machine.persistent,
}
