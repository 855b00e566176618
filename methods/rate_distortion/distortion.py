"""Distortion curves: how far the logits move when one layer alone is pruned, at every rate.

Rate-distortion pruning (ICCV 2023; rule 1.3 of the method's description) measures, for each layer
and each rate phi, the squared change of the logits on a calibration set when the int(phi * n)
smallest |w| of that layer are zero and every other layer is as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack, get_args

import torch
from torch import Tensor, nn

from methods.inventory import Weight, prunable_weights
from methods.rate_distortion.runners import FullForward, Part, Redraw, Replay, Runner, runner_for

Reduction = Literal["mean", "worst"]

MEMORY_BUDGET_BYTES = 2**30
BATCH_SIZE = 64  # images per pass: moves distortions by rounding, so it belongs to the protocol


class CurveOptions(TypedDict, total=False):
    """How `measure` goes about it; see there."""

    layers: Mapping[str, Weight] | None
    batch_size: int
    memory_budget_bytes: int
    progress: Callable[[int, int], None] | None
    on_layer: Callable[[str, Tensor], None] | None
    known: Mapping[str, Tensor] | None
    redraw: Redraw | None


@dataclass(frozen=True)
class Measurement:
    """Curves of several layers and how they came about."""

    names: tuple[str, ...]
    sizes: tuple[int, ...]  # weights per layer
    rates: tuple[float, ...]
    distortion: Tensor  # (L, len(rates)) float64, on the CPU
    never_executed: tuple[str, ...]  # their curves are zero
    recorded: bool  # False: every value measured cost a full forward pass


def curves(
    model: nn.Module,
    images: Tensor,
    rates: int | Sequence[float] | Tensor = 100,
    reduction: Reduction = "worst",
    **options: Unpack[CurveOptions],
) -> Tensor:
    """Squared logit distortion per layer and rate: (L, len(rates)) float64 on the CPU.

    Arguments, options and errors are those of `measure`, which also says which layers never ran.
    """
    return measure(model, images, rates, reduction, **options).distortion


def measure(
    model: nn.Module,
    images: Tensor,
    rates: int | Sequence[float] | Tensor = 100,
    reduction: Reduction = "worst",
    *,
    layers: Mapping[str, Weight] | None = None,
    batch_size: int = BATCH_SIZE,
    memory_budget_bytes: int = MEMORY_BUDGET_BYTES,
    progress: Callable[[int, int], None] | None = None,
    on_layer: Callable[[str, Tensor], None] | None = None,
    known: Mapping[str, Tensor] | None = None,
    redraw: Redraw | None = None,
) -> Measurement:
    """The distortion curves of `layers` (default: every weight), with their origin.

    images: (M, C, H, W) float, normalised. The model runs in eval mode and is left as it was.
    rates: K for the grid 0, 1/K, ..., 1, or the rates themselves (see `rate_grid`).
    reduction: "mean" over samples and classes, or "worst": the maximum over samples of the mean
    over classes. A worst-case curve grows with M; never compare two of different M.
    batch_size: images per pass; changes results by rounding only.
    memory_budget_bytes: for activations kept from one layer to the next, over all batches; above
    it they are recomputed from the images, once per layer. One batch needs more on top.
    progress: called with (units done, units in total); a unit is about the same time everywhere.
    known: curves of layers measured before, which are not measured again; on_layer gets each new
    curve (len(rates),) as soon as it is complete and finite, so that a run can be resumed.
    redraw: parameter name -> a transform that the images go through before each of its passes, ""
    for the unpruned one. Every pass is a full one then, and rate 0 has a distortion, too.
    Rows come in the order of `layers`; layers are measured in the order they execute.
    Raises ValueError for no images, a bad rate or reduction, or logits that are not finite.
    """
    grid = rate_grid(rates)
    chosen = dict(prunable_weights(model) if layers is None else layers)
    _check_request(images, reduction, batch_size, chosen)
    curve = _known_curves(known or {}, chosen, len(grid))
    todo = {name: layer for name, layer in chosen.items() if name not in curve}
    recorded = True
    with evaluating(model):
        batches = [part.to(_device(model)) for part in images.split(batch_size)]
        seen = list(map(redraw(""), batches)) if redraw else batches
        dense, executed = dense_logits(model, seen, chosen)
        if todo:
            runner = _runner(model, batches, dense, memory_budget_bytes, redraw)
            recorded = isinstance(runner, Replay)
            jobs = _jobs(model, runner, todo, grid, noisy=redraw is not None)
            meter = _Meter(sum(job.units for job in jobs) * len(batches), progress)
            for job in jobs:
                curve[job.name] = _measure_layer(runner, job, dense, reduction, meter)
                if on_layer is not None:
                    on_layer(job.name, curve[job.name].clone())
    return Measurement(
        names=tuple(chosen),
        sizes=tuple(layer.numel() for layer in chosen.values()),
        rates=tuple(grid),
        distortion=torch.stack([curve[name] for name in chosen]),
        never_executed=tuple(n for n in chosen if n not in executed and not curve[n].any()),
        recorded=recorded,
    )


def _runner(
    model: nn.Module,
    batches: list[Tensor],
    dense: list[Tensor],
    memory_budget_bytes: int,
    redraw: Redraw | None,
) -> Runner:
    if redraw is not None:
        return FullForward(model, batches, redraw)
    return runner_for(model, batches, dense, memory_budget_bytes)


def rate_grid(rates: int | Sequence[float] | Tensor) -> list[float]:
    """The rates as floats: K gives d / K for d = 0..K, anything else is taken as it is.

    A float32 tensor is read as its shortest decimals: 0.29 stored as float32 lies below 0.29 and
    would prune one weight fewer where 0.29 * n is whole.
    Raises ValueError unless there is a rate and all are ascending within 0..1.
    """
    if isinstance(rates, int):
        if rates < 1:
            raise ValueError(f"{rates} steps make no grid of rates; give at least 1 (usual: 100)")
        return [d / rates for d in range(rates + 1)]
    if isinstance(rates, Tensor):
        values = rates.detach().cpu().reshape(-1).numpy()
        grid = [float(str(value)) for value in values]
    else:
        grid = [float(value) for value in rates]
    ascending = all(a <= b for a, b in zip(grid, grid[1:], strict=False))
    if not grid or not ascending or not 0.0 <= grid[0] <= grid[-1] <= 1.0:
        raise ValueError(f"rates {grid[:4]}... must be ascending fractions from 0 to 1, not empty")
    return grid


def pruned_count(rate: float, size: int) -> int:
    """How many of `size` weights a rate zeroes: int(rate * size) in float64."""
    return min(size, max(0, int(rate * size)))


class _MeasuredLayer:
    """One layer to measure: which rates need a forward pass at all."""

    def __init__(
        self, name: str, part: Part, layer: Weight, grid: list[float], noisy: bool
    ) -> None:
        self.name, self.part, self.layer = name, part, layer
        self.weight = layer.stored.detach()
        size = self.weight.numel()
        self.counts = [pruned_count(rate, size) for rate in grid]
        # Zeroing what is zero already changes nothing, so the distortion is exactly 0 there.
        free = -1 if noisy else int((self.weight == 0).sum())
        self.distinct = sorted({c for c in self.counts if c > free}) if part.cost else []
        self.units = part.cost * len(self.distinct)

    def perturbed(self, order: Tensor) -> Iterator[Tensor]:
        """The parameter with the smallest weights zeroed, once per distinct count; one buffer."""
        whole = self.layer.parameter.detach().clone(memory_format=torch.preserve_format)
        weight = self.layer.take(whole)
        flat = weight.view(-1) if weight.is_contiguous() else None
        zeroed = 0
        for count in self.distinct:
            fresh = order[zeroed:count]
            if flat is not None:
                flat[fresh] = 0.0
            else:
                weight[torch.unravel_index(fresh, weight.shape)] = 0.0
            zeroed = count
            yield whole


def _jobs(
    model: nn.Module,
    runner: Runner,
    layers: Mapping[str, Weight],
    grid: list[float],
    noisy: bool,
) -> list[_MeasuredLayer]:
    """What to measure, in the order the layers execute."""
    jobs = [
        _MeasuredLayer(name, runner.part(parameter_name(model, layer)), layer, grid, noisy)
        for name, layer in layers.items()
    ]
    return sorted(jobs, key=lambda job: job.part.start)


def _measure_layer(
    runner: Runner, job: _MeasuredLayer, dense: list[Tensor], reduction: Reduction, meter: _Meter
) -> Tensor:
    total = torch.zeros(len(job.distinct), dtype=torch.float64, device=job.weight.device)
    if job.distinct:
        order = _pruning_order(job.weight)
        for batch, expected in enumerate(dense):
            logits = runner.logits(job.part, batch)
            for column, weight in enumerate(job.perturbed(order)):
                error = (logits(weight) - expected).double().square_().flatten(1).mean(1)
                if reduction == "mean":
                    total[column] += error.sum()
                else:
                    total[column] = torch.maximum(total[column], error.max())
                meter.advance(job.part.cost)
    if reduction == "mean":
        total /= sum(len(part) for part in dense)
    if not torch.isfinite(total).all():
        first = job.distinct[int((~torch.isfinite(total)).int().argmax())]
        msg = f"layer {job.name!r} with {first} of {job.weight.numel()} weights zeroed gives logits"
        raise ValueError(f"{msg} that are not finite; the layer is not stored. {_NOT_FINITE}")
    by_count = dict(zip(job.distinct, total.tolist(), strict=True))
    return torch.tensor([by_count.get(c, 0.0) for c in job.counts], dtype=torch.float64)


def _pruning_order(weight: Tensor) -> Tensor:
    """Flat positions in the order they are zeroed: ascending |w|, later positions first on ties.

    The earlier of two equal weights survives, as in every other mask of this library.
    """
    flat = weight.detach().abs().reshape(-1)
    return flat.numel() - 1 - flat.flip(0).argsort(stable=True)


class _Meter:
    def __init__(self, total: int, report: Callable[[int, int], None] | None) -> None:
        self._done, self._total, self._report = 0, total, report

    def advance(self, units: int) -> None:
        self._done += units
        if self._report is not None:
            self._report(self._done, self._total)


_NOT_FINITE = "Check the weights (NaN or Inf?) and that the images are normalised."


def dense_logits(
    model: nn.Module, batches: list[Tensor], layers: Mapping[str, Weight]
) -> tuple[list[Tensor], set[str]]:
    executed: set[str] = set()
    handles = [
        place.owner.register_forward_pre_hook(lambda *_, name=name: executed.add(name))
        for name, layer in layers.items()
        for place in layer.places
    ]
    try:
        dense = [model(images) for images in batches]
    finally:
        for handle in handles:
            handle.remove()
    for logits in dense:
        if not isinstance(logits, Tensor):
            msg = f"the model returns a {type(logits).__name__}, not one tensor of logits"
            raise TypeError(f"{msg}; wrap it so that it does")
        if not torch.isfinite(logits).all():
            raise ValueError(f"the unpruned model gives logits that are not finite. {_NOT_FINITE}")
    return dense, executed


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode without gradients; every module's own mode comes back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def parameter_name(model: nn.Module, layer: Weight) -> str:
    """The name under which the layer's weight is registered first (it may be shared)."""
    if layer.computed:
        msg = f"the weight of {layer.name!r} is computed (a parametrization or a pruning hook)"
        raise TypeError(f"{msg}, so it cannot be zeroed; make the model plain first")
    return next(name for name, value in model.named_parameters() if value is layer.parameter)


def _check_request(
    images: Tensor, reduction: str, batch_size: int, layers: Mapping[str, Weight]
) -> None:
    if not len(images):
        raise ValueError("no calibration images: distortion is measured on at least one image")
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction {reduction!r} is unknown; choose 'mean' or 'worst'")
    if batch_size < 1:
        raise ValueError(f"batch_size {batch_size} must be at least 1")
    if not layers:
        raise ValueError("no layer to measure: the model has no weight that was chosen")


def _known_curves(
    known: Mapping[str, Tensor], layers: Mapping[str, Weight], points: int
) -> dict[str, Tensor]:
    taken = {n: torch.as_tensor(c).double().cpu() for n, c in known.items() if n in layers}
    for name, curve in taken.items():
        if curve.shape != (points,) or not torch.isfinite(curve).all():
            msg = f"stored curve of {name!r} has shape {tuple(curve.shape)} or is not finite"
            raise ValueError(f"{msg}, expected {points} finite values; delete it and measure again")
    return taken
