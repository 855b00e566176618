"""How much of what a layer reads is not zero: the work left when zeros are skipped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from methods.inventory import prunable_weights


@dataclass(slots=True)
class Read:
    """Counts of one layer over all images, in the order of execution."""

    nonzero: Tensor  # 0-d int64: inputs that are not 0
    inputs: int = 0
    outputs: int = 0  # values per layer and image, summed over the images

    @property
    def share(self) -> float:
        """Share of non-zero inputs, 0..1."""
        return int(self.nonzero) / self.inputs


def inputs_read(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, Read]:
    """Layer name -> counts, for every Conv2d and Linear that runs, in order of execution.

    model: eval mode. batches: images (N,C,H,W), normalised, on its device.
    """
    found: dict[str, Read] = {}

    def count(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        given = inputs[0]
        read = found.setdefault(name, Read(given.new_zeros((), dtype=torch.int64)))
        read.nonzero += given.count_nonzero()
        read.inputs += given.numel()
        read.outputs += output.numel()

    handles = [
        weight.owner.register_forward_hook(partial(count, name))
        for name, weight in prunable_weights(model).items()
    ]
    try:
        for images in batches:
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def skipping_figures(model: nn.Module, batches: Iterable[Tensor]) -> dict[str, float]:
    """Han et al.'s tables 3 and 4: work left when zero weights and zero inputs are both skipped.

    "flops_remaining_pct.LAYER" = density x share of non-zero inputs, in percent; the images that
    the first layer reads count as dense, as in the paper. "flops_remaining_pct": all layers,
    weighted by their multiply-accumulates. "activations_pct.LAYER": share of non-zero values in
    what the layer passes on, taken where the next one reads it; 100 for the last.
    "activations_pct": of all of these values together.
    """
    reads = inputs_read(model, batches)
    weights = prunable_weights(model)
    names = list(reads)
    shares = [1.0, *(reads[name].share for name in names[1:])]
    figures: dict[str, float] = {}
    dense = left = 0.0
    last = reads[names[-1]].outputs
    inside = [reads[name] for name in names[1:]]
    nonzero = sum(int(read.nonzero) for read in inside) + last
    figures["activations_pct"] = 100 * nonzero / (sum(read.inputs for read in inside) + last)
    for name, share, passed_on in zip(names, shares, [*shares[1:], 1.0], strict=True):
        weight = weights[name].used
        density = int(weight.count_nonzero()) / weight.numel()
        work = reads[name].outputs * weight[0].numel()
        dense, left = dense + work, left + work * density * share
        figures[f"flops_remaining_pct.{name}"] = 100 * density * share
        figures[f"activations_pct.{name}"] = 100 * passed_on
    return {"flops_remaining_pct": 100 * left / dense, **figures}
