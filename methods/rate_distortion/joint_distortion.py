"""How far the logits move when all layers are pruned at once, and which weights they would miss.

Layers pruned together do not add up: the second one sees what the first has changed. Here the whole
network is run with a number of weights kept in every layer, always the largest |w| of the layer.
Ours; the published program measures one layer at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from methods.allocation import magnitude, survivors
from methods.inventory import Weight
from methods.masks import Masks
from methods.rate_distortion.distortion import (
    BATCH_SIZE,
    Reduction,
    dense_logits,
    evaluating,
    parameter_name,
)

Norms = Literal["kept", "refitted"]
Kept = tuple[int, ...]  # weights kept per layer, in network order

# The steepest way down is that of a norm over images: the maximum itself looks at one image only.
WORST_ORDER = 7
GRADIENT_VALUES = 64 * 3 * 32 * 32  # input values per backward pass, which keeps its activations


class Worth:
    """By how much the distortion falls with each weight, to first order, at one allocation."""

    def __init__(self, values: Sequence[Tensor], ranks: Sequence[Tensor]) -> None:
        self._values, self._ranks = values, ranks

    def between(self, layer: int, first: int, last: int) -> float:
        """What the layer's weights of ranks first <= rank < last take off the distortion."""
        inside = (self._ranks[layer] >= first) & (self._ranks[layer] < last)
        return float(torch.where(inside, self._values[layer], 0.0).sum(dtype=torch.float64))


class JointDistortion:
    """A network, pictures, and the squared change of the logits as a function of kept weights."""

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        layers: Mapping[str, Weight],
        masks: Masks,
        reduction: Reduction,
        batch_size: int = BATCH_SIZE,
        norms: Norms = "kept",
    ) -> None:
        """Run the network as it is: what the logits are compared with.

        images: (M, C, H, W), normalised, on the model's device. masks: layer -> what is left.
        norms: "kept": batch norms have the statistics they come with; "refitted": those of each
        batch, in the network compared with, too, so gradients take whole batches and more memory.
        Raises ValueError for logits that are not finite, no images or, with refitted norms, one,
        and TypeError for computed weights.
        """
        if not len(images):
            raise ValueError("no calibration images: distortion is measured on at least one image")
        self._model, self._layers, self._reduction = model, dict(layers), reduction
        self._parameters = {n: parameter_name(model, layer) for n, layer in layers.items()}
        live = {n: layer.stored.detach() != 0 for n, layer in layers.items()}
        live = {n: mask & masks[n] for n, mask in live.items()}
        self.names = tuple(layers)
        self.live: Kept = tuple(survivors(live).values())
        self.least: Kept = (1,) * len(self.live)  # what a search may not go below
        self._ranks = [_ranks(magnitude(layers[n].stored, live[n])) for n in self.names]
        self.images = images
        self._batches = images.split(batch_size)
        self._gradient_batches = images.split(max(1, GRADIENT_VALUES // max(1, images[0].numel())))
        self._evaluating = evaluating
        if norms == "refitted":
            self._batches = self._gradient_batches = _even_batches(images, batch_size)
            self._evaluating = refitted
        with self._evaluating(model):
            self._dense = dense_logits(model, list(self._batches), layers)[0]
        self._errors: dict[Kept, Tensor] = {}
        self.passes = 0.0  # of all images, forward; a backward pass counts as two

    def measure(self, kept: Kept) -> float:
        """The measured distortion, inf if a logit is not finite; known allocations cost nothing."""
        if kept not in self._errors:
            self._errors[kept] = self._measured(kept)
        errors = self._errors[kept]
        value = errors.mean() if self._reduction == "mean" else errors.max()
        return float(value.nan_to_num(nan=torch.inf))

    def _measured(self, kept: Kept) -> Tensor:
        weights = self._weights(kept)
        self.passes += 1
        with self._evaluating(self._model):
            errors = [
                _errors(functional_call(self._model, weights, (batch,)), expected)
                for batch, expected in zip(self._batches, self._dense, strict=True)
            ]
        return torch.cat(errors)

    def worth(self, kept: Kept) -> Worth:
        """The gradient at an allocation, over weights that are pruned there, too."""
        share = self._shares(kept)
        weights = {n: w.requires_grad_() for n, w in self._weights(kept).items()}
        gradients = [torch.zeros_like(w) for w in weights.values()]
        dense, self.passes = torch.cat(self._dense), self.passes + 3
        sizes = [len(batch) for batch in self._gradient_batches]
        with self._evaluating(self._model), torch.enable_grad():
            parts = zip(self._gradient_batches, dense.split(sizes), share.split(sizes), strict=True)
            for images, expected, part in parts:
                logits = functional_call(self._model, weights, (images,))
                loss = (_errors(logits, expected) * part).sum()
                found = torch.autograd.grad(
                    loss, list(weights.values()), allow_unused=True, materialize_grads=True
                )
                torch._foreach_add_(gradients, found)
        by_name = dict(zip(weights, gradients, strict=True))
        # A weight that goes changes the distortion by -gradient x weight, one that comes by +.
        values = [
            -layer.take(by_name[self._parameters[n]]) * layer.stored.detach()
            for n, layer in self._layers.items()
        ]
        return Worth(values, self._ranks)

    def _shares(self, kept: Kept) -> Tensor:
        """How much each image counts: the same, or by its error if the worst one is meant."""
        self.measure(kept)
        errors = self._errors[kept]
        if self._reduction == "mean":
            return torch.full_like(errors, 1 / len(errors))
        raised = (errors / errors.max().clamp_min(torch.finfo(errors.dtype).tiny)) ** (
            WORST_ORDER - 1
        )
        return raised / raised.sum()

    def _weights(self, kept: Kept) -> dict[str, Tensor]:
        """Parameters with the largest |w| of every layer: name in the model -> new tensor."""
        whole: dict[str, Tensor] = {}
        for i, (name, layer) in enumerate(self._layers.items()):
            parameter = self._parameters[name]
            if parameter not in whole:
                whole[parameter] = layer.parameter.detach().clone(
                    memory_format=torch.preserve_format
                )
            layer.take(whole[parameter]).mul_(self._ranks[i] < kept[i])
        return whole


@contextmanager
def refitted(model: nn.Module) -> Iterator[None]:
    """`evaluating`, but batch norms that keep statistics take those of the batch; none is kept."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    with evaluating(model):
        try:
            for norm in norms:
                norm.train()
                norm.track_running_stats = False
            yield
        finally:
            for norm in norms:
                norm.track_running_stats = True


def _even_batches(images: Tensor, batch_size: int) -> tuple[Tensor, ...]:
    """Batches of nearly one size, so that none is too small for statistics: at least two images."""
    if len(images) < 2:
        raise ValueError("norms='refitted' takes statistics of a batch: give at least two images")
    return images.tensor_split(min(-(-len(images) // batch_size), len(images) // 2))


def _errors(logits: Tensor, expected: Tensor) -> Tensor:
    """Squared change per image, mean over everything else, float64."""
    return (logits - expected).double().square().flatten(1).mean(1)


def _ranks(scores: Tensor) -> Tensor:
    """0 for the largest score, and so on; ties: the earlier position first. int32."""
    flat = scores.reshape(-1)
    order = flat.argsort(descending=True, stable=True)
    ranks = torch.empty_like(order, dtype=torch.int32)
    ranks[order] = torch.arange(len(flat), dtype=torch.int32, device=flat.device)
    return torch.empty_like(scores, dtype=torch.int32).copy_(ranks.view(scores.shape))
