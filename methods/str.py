"""STR: soft threshold reparameterization with learned thresholds (arXiv 2002.03231).

weight in use = sign(w) * relu(|w| - sigmoid(s)); s is learned. Sparsity is not a setting: it
results from s_init and the weight decay on s, and training begins dense.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from methods import published_formats
from methods.base import Schedule
from methods.masked import LayerSettings
from methods.parametrized import ParametrizedMethod, WeightRule

Granularity = Literal["layer", "global", "filter", "weight"]


class STRSettings(LayerSettings):
    """Where thresholds live and how they are driven.

    variant decides what counts as batch-norm for `no_bn_decay`: "intended" every BatchNorm
    layer, "released" every parameter with `bn` in its name, which misses the downsample ones.
    """

    s_init: float = -3200.0  # start of every s; the published ResNet-50 value
    granularity: Granularity = "layer"  # one s per layer (released), model, filter or weight
    st_decay: float | None = Field(default=None, ge=0.0)  # weight decay of s; None = as weights
    no_bn_decay: bool = False
    variant: Literal["intended", "released"] = "intended"


class _SoftThreshold(torch.autograd.Function):
    """w - clamp(w, -g, g): the soft threshold in two kernels, bit-equal to sign * relu."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, s: Tensor) -> Tensor:
        gate = s.float().sigmoid()
        wide = weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight
        clipped = wide.clamp(-gate, gate)
        sparse = torch.sub(wide, clipped, out=clipped).to(weight.dtype)
        ctx.save_for_backward(sparse, gate)
        return sparse

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        sparse, gate = ctx.saved_tensors
        signs = sparse.sign()  # 0 where pruned, a tie with the threshold included
        signed = grad * signs
        pull = signed.sum_to_size(_aligned(gate, sparse)).float().view(gate.shape)
        grad_s = -gate * (1 - gate) * pull  # before the next line reuses what pull may be
        return signed.mul_(signs), grad_s


def _aligned(gate: Tensor, weight: Tensor) -> list[int]:
    """The gate's shape with leading 1s up to the weight's rank, as broadcasting reads it."""
    return [1] * (weight.dim() - gate.dim()) + list(gate.shape)


class SoftThreshold(WeightRule):
    """sign(w) * relu(|w| - sigmoid(s)), threshold arithmetic in float32."""

    def __init__(self, s: nn.Parameter) -> None:
        super().__init__()
        self.sparse_threshold = s

    def forward(self, weight: Tensor) -> Tensor:
        return _SoftThreshold.apply(weight, self.sparse_threshold)


class STR(ParametrizedMethod):
    """Learn a threshold per layer, model, filter or weight together with the weights."""

    name: ClassVar[str] = "str"
    Settings = STRSettings
    settings: STRSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._shared: nn.Parameter | None = None

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self._shared = None
        super().attach(model, schedule)

    def rule(self, name: str, weight: Tensor) -> SoftThreshold:
        """Soft threshold with the layer's s, or the model's one s."""
        if self.settings.granularity != "global":
            return SoftThreshold(self._threshold(weight))
        if self._shared is None:
            self._shared = self._threshold(weight)
        return SoftThreshold(self._shared)

    def _threshold(self, weight: Tensor) -> nn.Parameter:
        shapes: dict[Granularity, tuple[int, ...]] = {
            "layer": (1, 1),
            "global": (1, 1),
            "filter": (weight.shape[0], *[1] * (weight.dim() - 1)),
            "weight": tuple(weight.shape),
        }
        shape = shapes[self.settings.granularity]
        start = torch.full(shape, self.settings.s_init, device=weight.device, dtype=torch.float32)
        return nn.Parameter(start)

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Batch-norm, thresholds, the rest; with the decay overrides of the settings."""
        rules = [module for module in model.modules() if isinstance(module, SoftThreshold)]
        thresholds = {id(rule.sparse_threshold) for rule in rules}
        norms = self._norm_parameters(model)
        groups: dict[str, list[nn.Parameter]] = {"norm": [], "threshold": [], "rest": []}
        for parameter in model.parameters():
            if id(parameter) in norms:
                groups["norm"].append(parameter)
            else:
                groups["threshold" if id(parameter) in thresholds else "rest"].append(parameter)
        norm: dict[str, Any] = {"weight_decay": 0.0} if self.settings.no_bn_decay else {}
        decay = self.settings.st_decay
        threshold: dict[str, Any] = {} if decay is None else {"weight_decay": decay}
        overrides = {"norm": norm, "threshold": threshold, "rest": {}}
        return [{"params": ps, **overrides[kind]} for kind, ps in groups.items() if ps]

    def _norm_parameters(self, model: nn.Module) -> set[int]:
        if self.settings.variant == "released":
            return {id(p) for name, p in model.named_parameters() if "bn" in name}
        norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
        return {id(p) for module in norms for p in module.parameters()}

    @staticmethod
    def import_published(raw: Mapping[str, Any]) -> dict[str, Tensor]:
        """A published STR checkpoint, native or converted -> plain torchvision-like keys."""
        return published_formats.str_(raw)
