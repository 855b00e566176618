"""A compiled network is handed out only after it gave what its model gives."""

from __future__ import annotations

import torch
from torch import nn

from harness.errors import ProtocolError
from harness.sparse.compiled import CompiledNetwork

# Of the largest output. The order of sums changes 1e-5 of it, a forgotten operation 1e-2 and more.
TOLERANCE = 1e-3


def check_equal(compiled: CompiledNetwork, model: nn.Module) -> None:
    """Raise ProtocolError unless both give the same for a batch of random images.

    model: in eval mode. torch.fx shows no hooks of the whole model and no view that is changed in
    place. One image more is checked than the network takes at once: what mixes the images of a
    batch, as a norm over it, gives something else then.
    """
    generator = torch.Generator().manual_seed(0)
    count = max(compiled.plan.network.batch, compiled.plan.threads) + 1
    images = torch.randn(count, *compiled.image_shape, generator=generator)
    try:
        expected, found = model(images.clone()), compiled(images)
    except RuntimeError as error:
        raise refusal(model, f"fails on a batch of {count} images ({error})") from error
    if found.shape != expected.shape:
        shapes = f"{tuple(found.shape)} instead of {tuple(expected.shape)}"
        raise refusal(model, f"gives outputs of shape {shapes}")
    largest = expected.nan_to_num(0, 0, 0).abs().max().clamp_min(torch.finfo().tiny)
    if not torch.allclose(found, expected, rtol=0, atol=TOLERANCE * float(largest), equal_nan=True):
        share = float((found - expected).abs().max() / largest)
        raise refusal(model, f"gives outputs that are off by {share:.1e} of the largest")


def refusal(model: nn.Module, what: str) -> ProtocolError:
    """The error for a model whose compiled network does `what`."""
    return ProtocolError(
        f"{type(model).__name__} cannot be compiled: compiled, it {what}. Likely its forward mixes "
        "the images of a batch, changes a view in place, draws at random or has hooks. Compile the "
        "parts without these one by one"
    )
