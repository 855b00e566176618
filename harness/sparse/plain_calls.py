"""PyTorch's own operations as calls with prepared arguments, so that a run only looks values up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.fx.node import map_aggregate

from harness.sparse.operation_graph import Reference, Untouched

Read = Callable[[str], Any]  # the name of a value -> the value


def plain_call(operation: Untouched) -> Callable[[Read], Any]:
    """What computes the operation from the values it is handed; in-place ones get copies."""
    target, of = operation.target, _copied if operation.in_place else _read
    arguments = [_prepared(argument, of) for argument in operation.arguments]
    keywords = {name: _prepared(value, of) for name, value in operation.keywords.items()}

    def call(read: Read) -> Any:
        given = [value(read) for value in arguments]
        return target(*given, **{name: value(read) for name, value in keywords.items()})

    return call


def _read(reference: Reference, read: Read) -> Any:
    return read(reference.value)


def _copied(reference: Reference, read: Read) -> Any:
    value = read(reference.value)
    return value.clone() if isinstance(value, Tensor) else value


def _prepared(argument: Any, of: Callable[[Reference, Read], Any]) -> Callable[[Read], Any]:
    if isinstance(argument, Reference):
        return lambda read: of(argument, read)
    if not _holds_values(argument):
        return lambda read: argument
    return lambda read: map_aggregate(
        argument, lambda part: of(part, read) if isinstance(part, Reference) else part
    )


def _holds_values(argument: Any) -> bool:
    """Whether some part of a nested argument stands for a value."""
    found: list[object] = []
    map_aggregate(argument, lambda part: found.append(part))
    return any(isinstance(part, Reference) for part in found)
