"""SNIP: single-shot pruning by connection sensitivity, before training (arXiv 1810.02340)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from methods.base import Schedule
from methods.initialisers import variance_scaling_
from methods.inventory import Weight, WeightPlace
from methods.masked import LayerSettings, MaskedMethod, Sparsity, chosen_weights
from methods.masks import Masks, global_topk

Batches = Iterable[tuple[Tensor, Tensor]]
DRAW = 1  # added to the run's seed: the second draw is independent of the one that is trained


class SnipSettings(LayerSettings):
    """How much goes, and which network the connections are scored on.

    sparsity: zeros / all parameters of the chosen layers, biases included.
    images: training images of the one mini-batch that is looked at.
    variant "released": the program that was published last: scored on a second draw of the
    weights, independent of the one that is trained, with biases of 0, which score 0 and all go.
    variant "paper": algorithm 1 as printed: scored on the very weights that are trained; the
    biases are drawn like weights, as the program did when the paper was written.
    bias_init_before, initialisations: one of these differences alone; None = the variant's.
    """

    sparsity: Sparsity | None = None
    images: int = Field(default=100, ge=1)
    variant: Literal["released", "paper"] = "released"
    bias_init_before: Literal["zeros", "vs"] | None = None
    initialisations: Literal[1, 2] | None = None

    @property
    def biases(self) -> str:
        """What biases are while connections are scored: "zeros", or "vs" (variance scaling)."""
        return self.bias_init_before or ("zeros" if self.variant == "released" else "vs")

    @property
    def draws(self) -> int:
        """1: scored on the weights that are trained. 2: on a second draw."""
        return self.initialisations or (2 if self.variant == "released" else 1)


def kappa(total: int, sparsity: float) -> int:
    """How many of `total` connections stay: round(total * (1 - sparsity)), half to even.

    The float expression of the released program; exact arithmetic gives 13,330.5 connections for
    95 % of 266,610, this gives 13331.
    """
    return int(round(total * (1.0 - sparsity)))


def sensitivities(
    parameters: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Name -> |gradient x parameter|, divided by the sum over all of them (equation 6).

    The gradient by a connection's indicator c at c = 1 is that by c * w, times w.
    """
    scores = {name: (parameters[name] * gradients[name]).detach().abs() for name in parameters}
    total = torch.stack([score.sum() for score in scores.values()]).sum()
    return {name: score / total for name, score in scores.items()}


def snip_masks(scores: Mapping[str, Tensor], sparsity: float) -> Masks:
    """The masks of the `kappa` largest scores over all tensors; equal scores: the earlier stays."""
    return global_topk(scores, kappa(sum(score.numel() for score in scores.values()), sparsity))


class Snip(MaskedMethod):
    """Score every connection once on one mini-batch, keep the best, then train what is left."""

    name: ClassVar[str] = "snip"
    Settings = SnipSettings
    settings: SnipSettings

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        """Take over the network. Raises ValueError without a sparsity."""
        if self.settings.sparsity is None:
            raise ValueError("snip has no sparsity to prune to; set sparsity=0.9 (share of zeros)")
        self._model = model
        self._seed = schedule.seed
        self.adopt(model)

    def maskable(self, model: nn.Module) -> dict[str, Weight]:
        """Weights in layer order, then biases in layer order."""
        weights = chosen_weights(model, self.settings)
        found = [replace(weight, name=f"{name}.weight") for name, weight in weights.items()]
        for name, weight in weights.items():
            bias = getattr(weight.owner, "bias", None)
            if isinstance(bias, nn.Parameter):
                place = WeightPlace(weight.places[0].path, weight.owner, "bias", bias)
                found.append(Weight(f"{name}.bias", weight.kind, (place,)))
        return {weight.name: weight for weight in found}

    def begin_training(self, batches: Batches) -> None:
        """The one pruning step. Raises ValueError when an epoch has fewer images than needed."""
        assert self.settings.sparsity is not None  # attach refuses
        scored = self._scored_parameters()
        gradients = self._gradients(scored, batches)
        self.set_masks(snip_masks(sensitivities(scored, gradients), self.settings.sparsity))

    def _scored_parameters(self) -> dict[str, Tensor]:
        """Copies of the chosen parameters as they are while connections are scored."""
        generator = torch.Generator().manual_seed(self._seed + DRAW)
        scored = {}
        for name, parameter in self.weights.items():
            value = parameter.detach().to("cpu", copy=True)
            if parameter.dim() > 1 and self.settings.draws == 2:
                variance_scaling_(value, generator)
            elif parameter.dim() == 1:
                value.zero_()
                if self.settings.biases == "vs":
                    # A vector of n is drawn as a weight with n inputs: TensorFlow's fan-in of it.
                    variance_scaling_(value[None], generator)
            scored[name] = value.to(parameter.device).requires_grad_()
        return scored

    def _gradients(self, scored: Mapping[str, Tensor], batches: Batches) -> dict[str, Tensor]:
        """Gradients of the mean cross-entropy over the wanted images, without a regulariser.

        Buffers are copies, so that batch-norm statistics of the network stay as they are.
        """
        left = self.settings.images
        buffers = {name: buffer.clone() for name, buffer in self._model.named_buffers()}
        total = {name: torch.zeros_like(value) for name, value in scored.items()}
        for images, targets in batches:
            images, targets = images[:left], targets[:left]
            logits = functional_call(self._model, {**buffers, **self._whole(scored)}, (images,))
            loss = F.cross_entropy(logits, targets, reduction="sum") / self.settings.images
            parts = torch.autograd.grad(loss, list(scored.values()))
            for name, part in zip(scored, parts, strict=True):
                total[name] += part
            left -= len(targets)
            if left == 0:
                return total
        raise ValueError(
            f"snip scores connections on {self.settings.images} images, but an epoch has only "
            f"{self.settings.images - left}; set settings.images to that or less"
        )

    def _whole(self, scored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The parameters with `scored` in their places, under the names that the model has."""
        names = {id(parameter): name for name, parameter in self._model.named_parameters()}
        whole: dict[str, Tensor] = {}
        for name, value in scored.items():
            weight = self.chosen[name]
            parameter = names[id(weight.parameter)]
            if weight.rows is None:
                whole[parameter] = value
            else:  # some rows of attention's fused projections
                first, end = weight.rows
                rest = whole.get(parameter, weight.parameter.detach())
                whole[parameter] = torch.cat([rest[:first], value, rest[end:]])
        return whole
