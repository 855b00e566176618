"""Whether tensors are those of a network: names, shapes, kinds of numbers; strict loading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from harness.checkpoints.wording import counted, shown, spelled
from harness.errors import KeyMismatch

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

SHOWN = 3  # names per kind of difference in a message
COUNTER = "num_batches_tracked"  # absent from files older than torch 0.4.1, which fills it in


class Shaped(Protocol):
    """A tensor, or what a file says of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> torch.dtype: ...


def load_into(model: nn.Module, tensors: Mapping[str, Tensor], name: str) -> None:
    """Copy `tensors` into `model`, all of them and nothing else; floating-point types are cast.

    Batch-norm counters may be absent. name: what the message calls the tensors.
    Raises KeyMismatch, with the model untouched, if any name, shape or kind of number differs.
    """
    differences = misfit(model.state_dict(), tensors)
    if differences:
        raise KeyMismatch(f"{name}: {differences}")
    versioned = model.state_dict()  # some layers read the version of their keys, such as MNASNet's
    versioned.update(tensors)
    model.load_state_dict(versioned, strict=True)


def misfit(wanted: Mapping[str, Tensor], tensors: Mapping[str, Shaped]) -> str:
    """One sentence on names, shapes and kinds of numbers in which the two differ; "" if they fit.

    wanted: the network's state dict, which may be on the meta device.
    """
    missing = [n for n in wanted if n not in tensors and not n.endswith(f".{COUNTER}")]
    unexpected = [shown(name) for name in tensors if name not in wanted]
    both = [(name, tensors[name], value) for name, value in wanted.items() if name in tensors]
    shapes = [
        f"{name} is {tuple(given.shape)}, the model has {tuple(value.shape)}"
        for name, given, value in both
        if tuple(given.shape) != tuple(value.shape)
    ]
    kinds = [
        f"{name} is {spelled(given.dtype)}, the model has {spelled(value.dtype)}"
        for name, given, value in both
        if not _castable(name, given.dtype, value.dtype)
    ]
    differences = [
        *_some("missing", missing),
        *_some("unexpected", unexpected),
        *_some("shapes", shapes),
        *_some("kinds of numbers", kinds),
    ]
    return f"checkpoint and model do not fit: {'; '.join(differences)}." if differences else ""


def casts(wanted: Mapping[str, Tensor], tensors: Mapping[str, Shaped]) -> list[str]:
    """What loading converts, one note per pair of types."""
    pairs: dict[str, int] = {}
    for name, given in tensors.items():
        if name in wanted and given.dtype != wanted[name].dtype:
            pair = f"{spelled(given.dtype)} read as {spelled(wanted[name].dtype)}"
            pairs[pair] = pairs.get(pair, 0) + 1
    return [f"{pair}: {counted(count, 'tensor')}" for pair, count in pairs.items()]


def _castable(name: str, given: torch.dtype, wanted: torch.dtype) -> bool:
    """Whether numbers of type `given` mean the same as `wanted`: only their precision differs."""
    if given == wanted or name.endswith(COUNTER):
        return True
    return given.is_floating_point and wanted.is_floating_point


def _some(kind: str, names: list[str]) -> Iterable[str]:
    if names:
        more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"{len(names)} {kind} ({', '.join(names[:SHOWN])}{more})"
