"""Whether a network can take the pictures it is about to be given."""

from __future__ import annotations

import torch
from torch import nn

from harness.errors import ProtocolError
from harness.models.building import input_size


def require_size(model: nn.Module, name: str, shape: tuple[int, int, int]) -> None:
    """Raise ProtocolError unless `model` answers one black picture of `shape` (C,H,W).

    A network too deep for its pictures pools them away, one with a fixed size refuses others; both
    would otherwise end inside a library, after everything else was made ready. name: as `build`
    knows it. The model is left as it was.
    """
    training, first = model.training, next(model.parameters(), None)
    picture = torch.zeros(1, *shape, device=None if first is None else first.device)
    model.eval()
    try:
        with torch.no_grad():
            model(picture)
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(". ")
        channels, height, width = shape
        raise ProtocolError(
            f"model {name!r} cannot take pictures of {height}x{width} with {channels} channels: "
            f"{reason}. It was designed for {input_size(name)} pixels a side; choose a network for "
            "pictures of this size (the ..._cifar ones take 32), or an evaluation that resizes them"
        ) from error
    finally:
        model.train(training)
