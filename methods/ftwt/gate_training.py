"""FTWT: each layer learns to predict, per image, which of its filters will fire.

Elkerdawy et al., "Fire Together Wire Together", CVPR 2022. One small head per convolution is
trained as a binary classifier against a mask made from the layer's own output.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from methods import base
from methods.base import Method, Schedule
from methods.ftwt.accounting import EffectiveMacs, MacTally, expected_reduction, gated_costs
from methods.ftwt.gates import (
    GateOptions,
    Gates,
    attach_gates,
    detach_gates,
    gates_of,
)
from methods.ftwt.layers import GatedLayer, describe, select
from methods.ftwt.paper_files import backbone_from_paper, export_paper_layout, layout_of, load_heads
from methods.ftwt.skip import skip_filters


class FTWTSettings(base.Settings):
    """Settings of FTWT; the defaults are those of the official code."""

    mass: float = Field(default=0.9, le=1.0)  # r, shared by all layers; pruned share if uniform
    ground_truth: Literal["mass", "uniform"] = "mass"
    mode: Literal["decoupled", "joint"] = "decoupled"
    head_pool: Literal["avg", "max"] = "avg"
    softmax: bool = True
    embedding: int = -1
    cooldown: float = Field(default=0.5, ge=0.0, le=1.0)  # share of epochs with a mask loss
    head_lr: float = Field(default=0.1, gt=0.0)
    after_block: bool = False  # residual blocks: mask the activated sum, not the branch
    include: tuple[str, ...] = ()  # globs over convolution names; empty = all
    exclude: tuple[str, ...] = ()

    def gate_options(self) -> GateOptions:
        """The part of the settings that a gate needs."""
        return GateOptions(
            mass=self.mass,
            ground_truth=self.ground_truth,
            mode=self.mode,
            head_pool=self.head_pool,
            softmax=self.softmax,
            embedding=self.embedding,
        )


class FTWT(Method):
    """Dynamic filter pruning. `attach` hangs the heads below the model as its child `ftwt`.

    The heads are parameters of the model, so its state dict holds them. `layers`, if given,
    replaces the gated layers read from the model.
    """

    name: ClassVar[str] = "ftwt"
    kind: ClassVar[Literal["static", "dynamic"]] = "dynamic"
    Settings: ClassVar[type[base.Settings]] = FTWTSettings

    def __init__(self, settings: Any, layers: tuple[GatedLayer, ...] | None = None) -> None:
        super().__init__(settings)
        self.layers = layers
        self.mask_loss_weight = 1.0
        self._epochs = 0
        self._gates: Gates | None = None

    @property
    def gates(self) -> Gates:
        """The attached gates. Raises RuntimeError before `attach`."""
        if self._gates is None:
            raise RuntimeError("ftwt has no gates yet; call attach(model, schedule) first")
        return self._gates

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        """Add a gate to every described layer; heads drawn from schedule.seed."""
        layers = self._layers_of(model)
        generator = torch.Generator().manual_seed(schedule.seed)
        self._gates = attach_gates(model, layers, self.settings.gate_options(), generator)
        self._epochs = schedule.epochs

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Backbone with the optimizer's values; heads with a constant lr and no decay."""
        heads = list(self.gates.parameters())
        of_heads = {id(p) for p in heads}
        return [
            {"params": [p for p in model.parameters() if id(p) not in of_heads]},
            {
                "params": heads,
                "lr": self.settings.head_lr,
                "weight_decay": 0.0,
                "constant_lr": True,
            },
        ]

    def begin_epoch(self, epoch: int) -> None:
        """Set the weight of the mask loss: 1 in the first `cooldown` of the epochs, then 0."""
        self.mask_loss_weight = float(epoch < int(self.settings.cooldown * self._epochs))

    def extra_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The weighted mask loss of the forward pass just made.

        With weight 0 it still has zero gradients: the heads' momentum fades out, as in the
        official code, instead of stopping dead.
        """
        return self.mask_loss_weight * self.gates.loss()

    def end_epoch(self, epoch: int) -> None:
        """Let go of the last step's graph."""
        self.gates.forget()

    def state_dict(self) -> dict[str, Any]:
        """Weight of the mask loss; the heads are in the model's own state dict."""
        return {"mask_loss_weight": self.mask_loss_weight}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of state_dict."""
        self.mask_loss_weight = float(state["mask_loss_weight"])

    def finalize(self, model: nn.Module) -> nn.Module:
        """The gated model itself, without records of a past forward pass."""
        gates_of(model).forget()
        return model

    @staticmethod
    def effective_macs(model: nn.Module, batches: Iterable[Tensor]) -> EffectiveMacs:
        """What the gated `model` really computes per image, over batches of images (N,C,H,W).

        Raises ValueError if the model has no gates, is in training mode, or there is no batch.
        """
        return _tally(model, batches).result()

    def figures(self, model: nn.Module, batches: Iterable[Tensor]) -> Mapping[str, float | Tensor]:
        """Reductions by the paper's counter (`flops_reduction_pct`) and by the strict one.

        reported_macs, effective_macs (strict): int64 per image. kept_filters_pct: mean over layers.
        """
        tally = _tally(model, batches)
        macs = tally.result()
        return {
            "flops_reduction_pct": macs.reported.reduction_pct,
            "strict_reduction_pct": macs.strict.reduction_pct,
            "reported_macs": tally.reported,
            "effective_macs": tally.strict,
            "head_macs": float(macs.head_macs),
            "kept_filters_pct": macs.kept_filters_pct,
        }

    def timed(self, model: nn.Module) -> Mapping[str, nn.Module]:
        """The backbone without gates, the masked forward pass, and one that skips filters."""
        dense = copy.deepcopy(model)
        detach_gates(dense)
        return {"dense": dense, "masked": model, "skipped": skip_filters(model)}

    def expected(
        self, model: nn.Module, batches: Iterable[Tensor], values: Sequence[float]
    ) -> list[dict[str, float]]:
        """Reductions per threshold r if the heads were perfect and the activations the dense ones.

        Training moves the result: masked inputs change activations, and heads err.
        """
        layers = self._layers_of(model)
        rows = expected_reduction(model, layers, batches, values, self.settings.ground_truth)
        return [asdict(row) for row in rows]

    def add_published(self, model: nn.Module, parts: Mapping[str, Tensor]) -> nn.Module:
        """The gated model with heads `<convolution>.{weight,bias}` from `parts`."""
        self.attach(model, Schedule(epochs=0, steps_per_epoch=0))
        load_heads(model, parts)
        return model

    def export_published(self, model: nn.Module) -> dict[str, Any]:
        """{"state_dict": ...} under the names of the paper's code; raises ValueError if it has no
        names for this network."""
        return {"state_dict": export_paper_layout(model, layout_of(model))}

    def _layers_of(self, model: nn.Module) -> tuple[GatedLayer, ...]:
        found = describe(model, self.settings.after_block) if self.layers is None else self.layers
        return select(found, self.settings.include, self.settings.exclude)

    @staticmethod
    def import_published(raw: Mapping[str, Any]) -> dict[str, Tensor]:
        """The paper's file -> plain keys of the backbone; heads are left out."""
        return backbone_from_paper(raw)


def _tally(model: nn.Module, batches: Iterable[Tensor]) -> MacTally:
    if model.training:
        raise ValueError("effective MACs are defined for evaluation; call model.eval() first")
    gates = gates_of(model)
    tally: MacTally | None = None
    with torch.inference_mode():
        for images in batches:
            tally = tally or MacTally(gated_costs(model, images[:1]))
            model(images)
            tally.update(gates.active())
    gates.forget()
    if tally is None:
        raise ValueError("no images were given, so there is nothing to count")
    return tally
