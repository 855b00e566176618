"""What a model costs, once: integer counts per layer, and the figures in the paper's convention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.errors import MetricError
from harness.profile.conventions import CountedNetwork, figures_by
from harness.profile.macs import DenseMacs, dense_macs, layer_costs, total_macs
from harness.profile.zeros import SparsityProfile, sparsity
from harness.results import Cost, Figures, LayerCost, OutsideRow

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, int, int]
EFFECTIVE_MACS = "effective_macs"  # a method's own count per image, where zeros do not tell


def measure_cost(
    model: nn.Module,
    input_shape: Shape,
    convention: str = "macs",
    exclude: Iterable[str] = (),
    measured: Figures | None = None,
    settings: Mapping[str, Any] | None = None,
    judged: bool = False,
) -> Cost:
    """Count weights, zeros and multiply-accumulates of `model` for one (C,H,W) input.

    convention: the paper's FLOPs convention id. exclude: glob patterns of layers outside the
    paper's sparsity denominator. measured: the method's own figures; where both know a name, the
    method's counts. Parts that a method added (gates) are in `params` and nowhere else.
    settings: the method's, whose include and exclude tell which weights it leaves alone.
    judged: raise MetricError for operations whose products nobody counts, instead of listing them.
    """
    dense = dense_macs(model, input_shape)
    if judged and dense.unsupported:
        operations = ", ".join(dense.unsupported)
        msg = f"{type(model).__name__}: no count of multiply-accumulates is known for {operations}"
        raise MetricError(f"{msg}, so its MACs cannot be judged. See: bench profile --help")
    zeros = sparsity(model)
    layers = layer_costs(zeros, dense)
    measured = measured or Figures()
    left = measured.values.get(EFFECTIVE_MACS, total_macs(layers)[1])
    figures = figures_by(convention, CountedNetwork(model, layers, input_shape, left))
    return replace(
        _cost(zeros, dense, layers, exclude),
        macs_effective=round(left),
        extra={**figures, **measured.values},
        spread=measured.spread,
        left_out=left_out(model, settings or {}),
    )


def left_out(model: nn.Module, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the weights of `model` that a method with these settings leaves alone."""
    from methods.inventory import inventory

    return inventory(model).left_out(settings.get("include", ()), settings.get("exclude", ()))


def _cost(
    zeros: SparsityProfile,
    dense: DenseMacs,
    layers: tuple[LayerCost, ...],
    exclude: Iterable[str],
) -> Cost:
    nnz, total = zeros.counts()
    prunable_nnz, prunable_total = zeros.counts(exclude)
    macs, effective = total_macs(layers)
    return Cost(
        params=zeros.params,
        nnz=nnz,
        total=total,
        macs_dense=macs,
        macs_effective=effective,
        fvcore_total=dense.fvcore_total,
        prunable_nnz=prunable_nnz,
        prunable_total=prunable_total,
        layers=layers,
        macs_activations=dense.activations,
        unsupported=tuple(dense.unsupported),
        outside=_outside(zeros),
    )


def _outside(zeros: SparsityProfile) -> tuple[OutsideRow, ...]:
    """Parameters that are no weights, by kind, the most first."""
    rows = []
    for kind in dict.fromkeys(part.kind for part in zeros.outside):
        parts = [part for part in zeros.outside if part.kind == kind]
        names = () if kind in ("bias", "norm") else tuple(part.name for part in parts)
        rows.append(OutsideRow(kind=kind, params=sum(part.size for part in parts), names=names))
    return tuple(sorted(rows, key=lambda row: -row.params))
