"""Linear layers that follow each other directly: rows are turned to planes and back only once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from harness.sparse.form_choice import PLANES
from harness.sparse.operation_graph import Linear, OperationGraph


def chained(
    network: OperationGraph, forms: Mapping[str, str]
) -> tuple[OperationGraph, dict[str, list[Linear]]]:
    """The network with one operation for each chain of linear layers on planes, and the layers of
    every linear operation that is left. A chain's has the last layer's name and place, and reads
    what the first one does.

    forms: layer -> its form. A layer that others read too, or that adds a residual, ends a chain.
    """
    chains: dict[str, list[Linear]] = {}
    operations = list(network.operations)
    for operation in network.operations:
        if not isinstance(operation, Linear):
            continue
        before = chains.get(operation.source)
        chains[operation.name] = [operation]
        if before and _goes_on(network, before[-1], operation, forms):
            del chains[operation.source]
            operations.remove(before[-1])
            chains[operation.name] = [*before, operation]
    for place, operation in enumerate(operations):
        if isinstance(operation, Linear):
            operations[place] = replace(operation, source=chains[operation.name][0].source)
    made = OperationGraph(network.input, network.output, operations, network.shapes)
    return made, chains


def _goes_on(
    network: OperationGraph, before: Linear, after: Linear, forms: Mapping[str, str]
) -> bool:
    native = forms[before.name] in PLANES and forms[after.name] in PLANES
    alone = network.users(before.name) == [after] and network.output != before.name
    return native and alone and before.residual is None and after.residual != before.name
