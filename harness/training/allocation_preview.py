"""One network and one pruning target, shared among the layers by several rules, side by side.

A column holds the weights that `bench prune` would leave in each layer after one round without
fine-tuning. `allocate` loads what is needed; everything below it is assembly.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.profile import DenseMacs, dense_macs, sparsity
from harness.registry import Entry, Registry, input_shape, make_method, method_refusals
from harness.results import Result
from harness.system import Options, verdict_precision
from harness.training.curve_cache import CurveCache
from harness.training.training_split import calibration_images
from methods.base import Method, Schedule
from methods.magnitude import Magnitude, MagnitudeSettings
from methods.masked import AllocationName
from methods.measurement_store import StoresMeasurements

BASELINES: dict[str, AllocationName] = {
    "LAMP": "lamp",
    "ERK": "erk",
    "uniform+": "uniform_plus",
    "global": "global",
}


@dataclass(frozen=True, slots=True)
class RuleColumn:
    """Weights left per layer under one rule, in network order; None if the rule cannot do it."""

    label: str
    kept: tuple[int, ...] | None
    reason: str = ""  # why it cannot


@dataclass(frozen=True, slots=True)
class AllocationComparison:
    """Several columns for one network."""

    network: str
    target: float  # share of the weights to remove, 0..1; what the baselines were asked for
    layers: tuple[str, ...]
    sizes: tuple[int, ...]  # weights
    macs: tuple[int, ...]  # dense multiply-accumulates of one image; 0 = never executed
    columns: tuple[RuleColumn, ...]

    def rates_pct(self, kept: Sequence[int]) -> list[float]:
        """Share of each layer's weights that is gone, in %."""
        return [100.0 * (1 - left / n) for left, n in zip(kept, self.sizes, strict=True)]

    def sparsity_pct(self, kept: Sequence[int]) -> float:
        """Share of zeros in all conv and linear weights, in %."""
        return 100.0 * (1 - sum(kept) / sum(self.sizes))

    def macs_left(self, kept: Sequence[int]) -> int:
        """Effective multiply-accumulates: dense ones times density, whole numbers per layer."""
        rows = zip(self.macs, kept, self.sizes, strict=True)
        return sum(macs * left // n for macs, left, n in rows)


def allocate(
    entry: Entry,
    model: nn.Module,
    registry: Registry,
    options: Options,
    target: float,
    settings: Mapping[str, object],
    run: Result | None = None,
) -> AllocationComparison:
    """Rate-distortion pruning of a dense network next to the baselines, at one target.

    entry: what `model` is called and how it is measured.
    settings: of method rd. run: a finished run on the same layers, shown as one more column.
    With a MACs budget `target` is the share of MACs to remove, and the baselines are asked for the
    sparsity that this came to. Curves are kept in the cache: an interrupted call goes on.
    Raises SettingsError for a target that cannot be reached or logits that are not finite,
    CheckpointError, DataError.
    """
    method = make_method("rd", settings)
    evaluation = registry.evaluations[entry.evaluation]
    if isinstance(method, StoresMeasurements):
        method.store = CurveCache(options.progress, method.activity)
    with method_refusals(f"{entry.id}, target {100 * target:g} %"):
        images = calibration_images(method, evaluation, options.data_root, options.device, seed=0)
        kept = kept_counts(pruned(method, model, target, images))
    columns = [RuleColumn("RD", kept)]
    if run is not None:
        columns.append(column_of(run, model))
    reached = target if settings.get("budget", "weights") == "weights" else share_gone(model, kept)
    columns += baselines(model, reached)
    return side_by_side(
        entry.id, model, dense_macs(model, input_shape(evaluation)), reached, columns
    )


def pruned(method: Method, model: nn.Module, target: float, images: Tensor | None) -> nn.Module:
    """A copy of `model` after one pruning event, in eval mode.

    target: 0..1. images: for methods that look at a calibration set, else None.
    Raises ValueError or IndexError as the method does.
    """
    changed = copy.deepcopy(model).eval()
    method.attach(changed, Schedule(0, 1))
    with verdict_precision():
        method.prune(changed, target, images)
    return method.finalize(changed)


def kept_counts(model: nn.Module) -> tuple[int, ...]:
    """Non-zero weights of every conv and linear layer, in network order."""
    return tuple(layer.nnz for layer in sparsity(model).layers)


def share_gone(model: nn.Module, kept: Iterable[int]) -> float:
    """1 - kept weights / all conv and linear weights."""
    return 1.0 - sum(kept) / sparsity(model).counts()[1]


def baselines(model: nn.Module, target: float) -> list[RuleColumn]:
    """LAMP, ERK, uniform+ and global magnitude pruning at `target`, each once."""
    columns = []
    for label, rule in BASELINES.items():
        method = Magnitude(MagnitudeSettings(allocation=rule))
        try:
            columns.append(RuleColumn(label, kept_counts(pruned(method, model, target, None))))
        except ValueError as error:
            columns.append(RuleColumn(label, None, str(error)))
    return columns


def column_of(run: Result, model: nn.Module) -> RuleColumn:
    """What a finished run left per layer. Raises ProtocolError if its layers are not `model`'s."""
    left = {layer.name: layer.nnz for layer in run.cost.layers}
    sizes = {layer.name: layer.total for layer in run.cost.layers}
    if sizes != {layer.name: layer.total for layer in sparsity(model).layers}:
        msg = f"run {run.entry} pruned {run.model} on {run.dataset}, whose layers are others"
        raise ProtocolError(f"{msg}. Name the dense entry that it started from")
    return RuleColumn(run.entry, tuple(left.values()))


def side_by_side(
    network: str, model: nn.Module, macs: DenseMacs, target: float, columns: Sequence[RuleColumn]
) -> AllocationComparison:
    """The columns with what they are columns of."""
    layers = sparsity(model).layers
    return AllocationComparison(
        network=network,
        target=target,
        layers=tuple(layer.name for layer in layers),
        sizes=tuple(layer.total for layer in layers),
        macs=tuple(macs.per_layer.get(layer.name, 0) for layer in layers),
        columns=tuple(columns),
    )
