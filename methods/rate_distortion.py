"""Rate-distortion pruning: how much each layer loses is decided by what it does to the logits.

Each pruning event measures every layer's distortion curve (`rd_curves`), picks one rate per layer
under a budget (`rd_solvers`) and removes the smallest weights of each layer. Source: ICCV 2023,
arXiv 2308.10438, and the published program. Also here: the calibration set, the published FLOPs
figure, and keys under which curves and allocations may be cached.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from methods.allocation import magnitude, survivors
from methods.masked import LayerSettings, MaskedMethod, chosen_layers
from methods.masks import keep_largest
from methods.published_formats import rd
from methods.rd_curves import (
    Measurement,
    Options,
    Reduction,
    curves,
    evaluating,
    measure,
    pruned_count,
)
from methods.rd_solvers import OfficialIndexError, solve_exact, solve_official

__all__ = [
    "Allocation",
    "LayerFlops",
    "Measurement",
    "OfficialIndexError",
    "RateDistortion",
    "calibration_indices",
    "curve_key",
    "curves",
    "flops_remaining",
    "measure",
    "output_positions",
    "solve_exact",
    "solve_official",
    "synthetic_images",
    "tensors_hash",
]


class RateDistortionSettings(LayerSettings):
    """What to measure and how to choose. All of the README's commands use the worst case."""

    points: int = Field(100, ge=1, le=65535)  # K: rates 0, 1/K, ..., 1
    reduction: Reduction = "worst"  # the published program without a flag: "mean"
    solver: Literal["exact", "official"] = "exact"
    budget: Literal["weights", "macs"] = "weights"  # macs: ours, not in the published method
    calibration: Literal["train", "synthetic"] = "train"
    calibration_size: int = Field(1024, ge=1)
    calib_augment: bool = False  # the original leaves random crop and flip on by mistake

    @model_validator(mode="after")
    def _official_counts_weights(self) -> RateDistortionSettings:
        if self.solver == "official" and self.budget != "weights":
            raise ValueError("the official solver knows no MACs budget; use solver='exact'")
        return self


@dataclass(frozen=True)
class Allocation:
    """What one pruning event decided, layer by layer."""

    measurement: Measurement
    target: float  # sparsity asked for; budget "macs": share of MACs to remove
    previous: tuple[float, ...]  # rate reached before
    choices: tuple[int, ...]  # index into measurement.rates
    kept: tuple[int, ...]  # weights left

    @property
    def objective(self) -> float:
        """Sum of the chosen distortions."""
        rows = list(range(len(self.choices)))
        return float(self.measurement.distortion[rows, list(self.choices)].sum())


class RateDistortion(MaskedMethod):
    """Layer-wise magnitude pruning at rates that disturb the logits least."""

    name: ClassVar[str] = "rd"
    Settings = RateDistortionSettings
    settings: RateDistortionSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.options: Options = {}  # for `measure`: batch size, progress, resume store
        self.allocation: Allocation | None = None  # of the last pruning event
        self._chosen: dict[str, float] = {}  # rates of the last pruning event

    def adopt(self, model: nn.Module) -> None:
        """Take over the model's weights; rates chosen for other weights are forgotten."""
        before = self.weights
        super().adopt(model)
        if any(before.get(name) is not weight for name, weight in self.weights.items()):
            self._chosen = {}

    def prune(self, model: nn.Module, sparsity: float, images: Tensor | None = None) -> None:
        """Prune to `sparsity` of the chosen weights (budget "macs": of their dense MACs).

        images: calibration set (M, C, H, W), normalised: real ones picked by
        `calibration_indices`, or `synthetic_images`. The exact solver leaves exactly
        n - int(rate * n) weights in a layer; weights pruned before stay pruned.
        Raises ValueError for no images, logits that are not finite or a target out of reach, and
        OfficialIndexError where the published program fails; nothing is pruned then.
        """
        if images is None:
            raise ValueError("rd measures on images; pass a calibration set, real or synthetic")
        if not 0.0 <= sparsity <= 1.0:
            raise ValueError(f"target {sparsity} is not a fraction; 0.9 removes 90 %")
        self.adopt(model)
        layers = chosen_layers(model, self.settings)
        previous = self._previous()
        options = self.options.copy()
        options["layers"] = layers
        measurement = measure(
            model, images, self.settings.points, self.settings.reduction, **options
        )
        choices = self._choose(model, images, measurement, sparsity, previous)
        rates = {n: measurement.rates[k] for n, k in zip(layers, choices, strict=True)}
        self.set_masks({name: self._mask(name, rates[name], previous[name]) for name in layers})
        self._chosen = rates
        kept = survivors(self.masks)
        self.allocation = Allocation(
            measurement, sparsity, tuple(previous.values()), tuple(choices), tuple(kept.values())
        )

    def state_dict(self) -> dict[str, Any]:
        """The masks, and the rates chosen last: the official solver goes on from them."""
        return {**super().state_dict(), "rates": dict(self._chosen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of state_dict. Raises ValueError when the state is of other layers."""
        super().load_state_dict(state)
        self._chosen = dict(state["rates"])

    @staticmethod
    def import_published(raw: Mapping[str, Any]) -> dict[str, Tensor]:
        """The program's weight_orig times weight_mask under plain names; heads become linear."""
        return rd(raw)

    def _previous(self) -> dict[str, float]:
        """Rate each layer has reached: its share of zeros, or the rate chosen for it last."""
        live = {name: (self.weights[name] != 0) & mask for name, mask in self.masks.items()}
        reached = {n: 1.0 - left / live[n].numel() for n, left in survivors(live).items()}
        return reached | self._chosen if self.settings.solver == "official" else reached

    def _mask(self, name: str, rate: float, previous: float) -> Tensor:
        weight, mask = self.weights[name], self.masks[name]
        if self.settings.solver == "official":
            return official_mask(weight, mask, rate, previous)
        return exact_mask(weight, mask, rate)

    def _choose(
        self,
        model: nn.Module,
        images: Tensor,
        measurement: Measurement,
        target: float,
        previous: Mapping[str, float],
    ) -> list[int]:
        distortion, sizes, reached = measurement.distortion, measurement.sizes, [*previous.values()]
        if self.settings.solver == "official":
            return solve_official(distortion, sizes, target, reached)
        if self.settings.budget == "weights":
            return solve_exact(distortion, sizes, int((1 - target) * sum(sizes)), reached)
        layers = chosen_layers(model, self.settings)
        positions = output_positions(model, images[:1], layers)
        costs = [
            [(n - pruned_count(rate, n)) * positions[name] for rate in measurement.rates]
            for name, n in zip(measurement.names, sizes, strict=True)
        ]
        budget = int((1 - target) * sum(row[0] for row in costs))
        return solve_exact(distortion, sizes, budget, reached, costs=costs)


def exact_mask(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    """The mask that keeps the n - int(rate * n) largest |w|, never one masked before."""
    keep = min(weight.numel() - pruned_count(rate, weight.numel()), int(mask.sum()))
    return keep_largest(magnitude(weight, mask), keep)


def official_mask(weight: Tensor, mask: Tensor, rate: float, previous: float) -> Tensor:
    """The mask after the published program's step from `previous` to `rate` (rule 1.5).

    It removes round(a * u) of the u non-zero weights, a = 1 - (1 - rate) / (1 - previous) in
    float32, at least 0; a layer already empty stays as it is.
    """
    left, before = (1 - torch.tensor(value, dtype=torch.float32) for value in (rate, previous))
    amount = float((1 - left / before).nan_to_num(0.0).clamp(min=0.0))
    removed = round(amount * int((weight * mask).count_nonzero()))
    return keep_largest(magnitude(weight, mask), int(mask.sum()) - removed)


def calibration_indices(n_total: int, size: int, folder: bool = False) -> list[int]:
    """Which training images calibrate: every s-th, s = n_total // size (rule 1.3).

    folder=False (CIFAR): the first `size` of 0, s, 2s, ... folder=True (ImageNet, files sorted by
    class folder, then name): all of them but the last, so one fewer than `size` where s divides.
    Raises ValueError unless 1 <= size <= n_total, or if nothing is left.
    """
    if not 1 <= size <= n_total:
        msg = f"cannot draw {size} calibration images from {n_total}"
        raise ValueError(f"{msg}; is the image folder empty?" if not n_total else msg)
    every = range(0, n_total, n_total // size)
    chosen = list(every)[:-1] if folder else list(every)[:size]
    if not chosen:
        raise ValueError("the folder rule drops the last image, and there is only one; ask for 2")
    return chosen


def synthetic_images(size: int, shape: Sequence[int], seed: int) -> Tensor:
    """Standard normal images (size, *shape) float32 on the CPU: calibration without data."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((size, *shape), generator=generator)


def output_positions(
    model: nn.Module, image: Tensor, layers: Mapping[str, nn.Module]
) -> dict[str, int]:
    """How often one image uses each weight of a layer: its MACs are weights times this.

    Output height * width for a convolution, 1 for a linear layer on vectors; the sum over calls;
    0 for a layer never executed. image: (1, C, H, W). The model is run once in eval mode.
    """
    count = dict.fromkeys(layers, 0)

    def add(name: str, layer: nn.Module, output: Tensor) -> None:
        channels = output.shape[1] if isinstance(layer, nn.Conv2d) else output.shape[-1]
        count[name] += output.numel() // (channels * len(image))

    handles = [
        layer.register_forward_hook(lambda module, _, out, name=name: add(name, module, out))
        for name, layer in layers.items()
    ]
    try:
        with evaluating(model):
            model(image.to(next(model.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return count


class LayerFlops(NamedTuple):
    """A layer as the published FLOPs figure sees it."""

    positions: int | None  # output height * width, 1 for linear; None or 0: never executed
    nnz: int
    size: int
    has_bias: bool


def flops_remaining(layers: Iterable[LayerFlops]) -> float:
    """Share of operations left, 0..1, in the published convention ("FLOPs remained").

    sum(A * nnz + b) / sum(A * n + b), A = output positions, b = A if the layer has a bias: once
    per position, not per channel. Layers never executed do not count. Raises ValueError if none is
    left.
    """
    rows = [LayerFlops(*row) for row in layers]
    executed = [row for row in rows if row.positions]
    if not executed:
        raise ValueError("no executed layer: the share of FLOPs left is undefined")
    left = sum((row.positions or 0) * (row.nnz + row.has_bias) for row in executed)
    return left / sum((row.positions or 0) * (row.size + row.has_bias) for row in executed)


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over names, types, shapes and bytes, in order; hex, 64 characters."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def curve_key(
    weights_hash: str,
    calibration_hash: str,
    reduction: Reduction,
    points: int,
    *,
    target: float | None = None,
    solver: str | None = None,
    budget: str | None = None,
    previous: Sequence[float] | None = None,
) -> str:
    """The cache key of curves, or with the keywords of an allocation; hex, 64 characters.

    weights_hash: `tensors_hash` of the model's state dict, so masks and normalisation statistics
    count; calibration_hash: of the images. Everything that changes the result is part of the key;
    the published program leaves most of it out and returns the wrong allocation.
    """
    fields = {
        "kind": "rd-curves" if solver is None else "rd-allocation",
        "weights": weights_hash,
        "calibration": calibration_hash,
        "reduction": reduction,
        "points": points,
        "target": target,
        "solver": solver,
        "budget": budget,
        "previous": None if previous is None else [float(rate) for rate in previous],
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
