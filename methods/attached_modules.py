"""Parts that a method hangs onto a network and that are not the network's own, such as gates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


class AttachedModule(nn.Module):
    """Base of such a part. Its weights are nobody's sparsity, and it can be switched off."""

    @property
    def enabled(self) -> bool:
        """Whether the network computes with this part."""
        raise TypeError(f"{type(self).__name__} does not say whether it is switched on")

    def set_enabled(self, enabled: bool) -> None:
        """Switch this part on, or off for the network as it was without it."""
        raise TypeError(f"{type(self).__name__} cannot be switched off")


@contextmanager
def switched_off(model: nn.Module) -> Iterator[nn.Module]:
    """`model` computing without its attached modules; as before afterwards."""
    parts = [module for module in model.modules() if isinstance(module, AttachedModule)]
    before = [part.enabled for part in parts]
    for part in parts:
        part.set_enabled(False)
    try:
        yield model
    finally:
        for part, enabled in zip(parts, before, strict=True):
            part.set_enabled(enabled)
