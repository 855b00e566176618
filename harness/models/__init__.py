"""Networks by name: `build`, `names`, `input_size`. Torch is not imported before `build`."""

from harness.models.zoo import build, input_size, names, register

__all__ = ["build", "input_size", "names", "register"]
