"""Rate-distortion pruning: how much each layer loses is decided by what it does to the logits.

Each pruning event measures every layer's distortion curve (`distortion`), picks one rate per layer
under a budget (`solvers`) and removes the smallest weights of each layer. Source: ICCV 2023,
arXiv 2308.10438, and the published program. With solver="joint", ours, no curve is measured: counts
are sought that disturb the logits least when all layers are pruned at once (`joint_search`). `keys`
has the keys under which curves and allocations are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from methods.allocation import magnitude, survivors
from methods.base import Schedule
from methods.inventory import Weight
from methods.masked import LayerSettings, MaskedMethod, chosen_weights
from methods.masks import keep_largest
from methods.measurement_store import MeasurementStore
from methods.published_formats import rd
from methods.rate_distortion.calibration import calibration_indices, synthetic_images
from methods.rate_distortion.distortion import (
    BATCH_SIZE,
    CurveOptions,
    Measurement,
    Reduction,
    measure,
    pruned_count,
)
from methods.rate_distortion.exact_count import kept_counts
from methods.rate_distortion.flops import output_positions
from methods.rate_distortion.joint_distortion import Norms
from methods.rate_distortion.joint_pruning import JointSearch
from methods.rate_distortion.keys import curve_key, network_hash, tensors_hash
from methods.rate_distortion.redraw import redrawing
from methods.rate_distortion.solvers import (
    OfficialIndexError,
    official_budget,
    solve_exact,
    solve_official,
)


class RateDistortionSettings(LayerSettings):
    """What to measure and how to choose. All of the README's commands use the worst case."""

    points: int = Field(100, ge=1, le=65535)  # K: rates 0, 1/K, ..., 1
    reduction: Reduction = "worst"  # the published program without a flag: "mean"
    solver: Literal["exact", "official", "joint"] = "exact"  # joint: ours, needs no curves
    norms: Norms = "kept"  # joint; refitted: batch norms fit the pruned network, as if fine-tuned
    lamp_floor: float = Field(default=0.0, ge=0, le=1)  # joint: least share of LAMP's count
    budget: Literal["weights", "macs"] = "weights"  # macs: ours, not in the published method
    exact_count: bool = True  # exact solver: give back what a step of the grid removed too much
    calibration: Literal["train", "synthetic"] = "train"
    calibration_size: int = Field(1024, ge=1)
    calib_augment: bool = False  # as the original by mistake: other crops and flips in every pass

    @model_validator(mode="after")
    def _official_counts_weights(self) -> RateDistortionSettings:
        if self.solver == "official" and self.budget != "weights":
            raise ValueError("the official solver knows no MACs budget; use solver='exact'")
        if self.calib_augment and self.calibration == "synthetic":
            raise ValueError("made-up images are never cropped; leave out calib_augment")
        return self

    @model_validator(mode="after")
    def _joint_exchanges_weights(self) -> RateDistortionSettings:
        if self.solver == "joint" and self.budget != "weights":
            raise ValueError("the joint solver knows no MACs budget; use solver='exact'")
        if self.solver == "joint" and (self.calib_augment or not self.exact_count):
            msg = "the joint solver measures the same pictures every time and ends on exact counts"
            raise ValueError(f"{msg}; leave out calib_augment and exact_count")
        given = " and ".join(self.told_joint())
        if given and self.solver != "joint":
            raise ValueError(f"only the joint solver knows {given}; add solver='joint'")
        return self

    def told_joint(self) -> dict[str, object]:
        """What the joint solver alone is told, other than its defaults."""
        return self.model_dump(include={"norms", "lamp_floor"}, exclude_defaults=True)


@dataclass(frozen=True)
class Allocation:
    """What one pruning event decided, layer by layer."""

    target: float  # sparsity asked for; budget "macs": share of MACs to remove
    previous: tuple[float, ...]  # rate reached before
    kept: tuple[int, ...]  # weights left
    measurement: Measurement | None = None  # the curves; the joint solver has none
    choices: tuple[int, ...] = ()  # index into measurement.rates


class RateDistortion(MaskedMethod):
    """Layer-wise magnitude pruning at rates that disturb the logits least."""

    name: ClassVar[str] = "rd"
    Settings = RateDistortionSettings
    settings: RateDistortionSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.options: CurveOptions = {}  # for `measure`: batch size, memory budget
        self.store: MeasurementStore | None = None  # finished curves and allocations, and progress
        self.allocation: Allocation | None = None  # of the last pruning event
        self._chosen: dict[str, float] = {}  # rates of the last pruning event
        self._seed = 0

    @property
    def activity(self) -> str:
        """What takes the time, for a progress bar."""
        joint = self.settings.solver == "joint"
        return "exchanging weights between layers" if joint else "distortion curves"

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        super().attach(model, schedule)
        self._seed = schedule.seed

    def calibration_rows(self, total: int, folder: bool) -> Sequence[int] | None:
        """Every s-th training image, as `calibration_indices` has it; None if they are made up."""
        if self.settings.calibration == "synthetic":
            return None
        return calibration_indices(total, self.settings.calibration_size, folder)

    def calibration_images(self, shape: Sequence[int], seed: int) -> Tensor | None:
        """`synthetic_images` (calibration_size, *shape), or None if real ones are wanted."""
        if self.settings.calibration == "train":
            return None
        return synthetic_images(self.settings.calibration_size, shape, seed)

    def adopt(self, model: nn.Module) -> None:
        """Take over the model's weights; rates chosen for other weights are forgotten."""
        before = self.chosen
        super().adopt(model)
        if any(
            name not in before or before[name].parameter is not weight.parameter
            for name, weight in self.chosen.items()
        ):
            self._chosen = {}

    def prune(self, model: nn.Module, sparsity: float, images: Tensor | None = None) -> None:
        """Prune to `sparsity` of the chosen weights (budget "macs": of their dense MACs).

        images: calibration set (M, C, H, W), normalised: real ones picked by
        `calibration_indices`, or `synthetic_images`. The exact solver removes exactly
        round(sparsity * N) of the N weights; with `exact_count` off, or a budget of MACs,
        n - int(rate * n) stay in a layer, at most the budget. The joint solver removes exactly
        round(sparsity * N), too. Weights pruned before stay pruned.
        Raises ValueError for no images, logits that are not finite or a target out of reach, and
        OfficialIndexError where the published program fails; nothing is pruned then.
        """
        if images is None:
            raise ValueError("rd measures on images; pass a calibration set, real or synthetic")
        if not 0.0 <= sparsity <= 1.0:
            raise ValueError(f"target {sparsity} is not a fraction; 0.9 removes 90 %")
        self.adopt(model)
        layers = chosen_weights(model, self.settings)
        if self.settings.solver == "joint":
            self._prune_jointly(model, images, layers, sparsity)
            return
        if self.settings.solver == "official":  # before anything slow
            self._check_official(model, images, layers, sparsity)
        previous = self._previous()
        key = self._keys(model, images) if self.store else None
        measurement = self._measure(model, images, layers, key)
        choices = self._decide(model, images, measurement, sparsity, previous, key)
        rates = {n: measurement.rates[k] for n, k in zip(layers, choices, strict=True)}
        if self.settings.solver == "official":
            chosen = {n: self._official_mask(n, rate, previous[n]) for n, rate in rates.items()}
        else:
            chosen = self._exact_masks(measurement, choices, sparsity)
        self.set_masks(chosen)
        self._chosen = rates
        kept = survivors(self.masks)
        self.allocation = Allocation(
            sparsity, tuple(previous.values()), tuple(kept.values()), measurement, tuple(choices)
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

    def _prune_jointly(
        self, model: nn.Module, images: Tensor, layers: Mapping[str, Weight], sparsity: float
    ) -> None:
        """Masks of least joint distortion; see `joint_search`."""
        previous = self._previous()
        search = JointSearch(
            model,
            images,
            layers,
            self.masks,
            self.settings.reduction,
            self.options.get("batch_size", BATCH_SIZE),
            self.settings.norms,
            self.settings.lamp_floor,
        )
        total = sum(layer.numel() for layer in layers.values())
        left = total - round(sparsity * total)
        if self.store is None:
            kept = search.solve(left)
        else:
            question = self._keys(model, images)(
                layers=tuple(layers),
                target=sparsity,
                solver="joint",
                budget="weights",
                previous=list(previous.values()),
                joint=self.settings.told_joint(),
            )
            kept = search.solve_and_store(left, self.store, question)
        self.set_masks(
            {
                name: keep_largest(magnitude(self.chosen[name].stored, self.masks[name]), count)
                for name, count in kept.items()
            }
        )
        self.allocation = Allocation(sparsity, tuple(previous.values()), tuple(kept.values()))

    def _previous(self) -> dict[str, float]:
        """Rate each layer has reached: its share of zeros, or the rate chosen for it last."""
        weights = self.weights
        live = {name: (weights[name] != 0) & mask for name, mask in self.masks.items()}
        reached = {n: 1.0 - left / live[n].numel() for n, left in survivors(live).items()}
        return reached | self._chosen if self.settings.solver == "official" else reached

    def _check_official(
        self, model: nn.Module, images: Tensor, layers: Mapping[str, Weight], sparsity: float
    ) -> None:
        """Raise OfficialIndexError where the published program fails whatever the curves are."""
        sizes = [layer.numel() for layer in layers.values()]
        official_budget(sizes, self.settings.points + 1, sparsity)
        if self.settings.calibration == "train":  # made-up images give idle layers a curve, too
            uses = output_positions(model, images[:1], layers)
            for name in (name for name, count in uses.items() if not count):
                msg = f"layer {name!r} is never executed, so the published program has a curve less"
                raise OfficialIndexError(f"{msg} than layers and fails; use the exact solver")

    def _official_mask(self, name: str, rate: float, previous: float) -> Tensor:
        return official_mask(self.chosen[name].stored, self.masks[name], rate, previous)

    def _exact_masks(
        self, measurement: Measurement, choices: Sequence[int], target: float
    ) -> dict[str, Tensor]:
        """The largest |w| of each layer, never one masked before."""
        names, sizes = measurement.names, measurement.sizes
        kept = [[n - pruned_count(rate, n) for rate in measurement.rates] for n in sizes]
        if self.settings.exact_count and self.settings.budget == "weights":
            live = [int((self.weights[n] != 0).logical_and(self.masks[n]).sum()) for n in names]
            left = sum(sizes) - round(target * sum(sizes))
            counts = kept_counts(measurement.distortion, kept, choices, live, left)
        else:
            counts = [row[k] for row, k in zip(kept, choices, strict=True)]
        return {
            name: keep_largest(
                magnitude(self.chosen[name].stored, self.masks[name]),
                min(count, int(self.masks[name].sum())),
            )
            for name, count in zip(names, counts, strict=True)
        }

    def _keys(self, model: nn.Module, images: Tensor) -> Callable[..., str]:
        """`curve_key` for this event; keywords make it an allocation's."""
        seen = {"images": images}
        if self.settings.calib_augment:
            seen["redrawn with seed"] = torch.tensor(self._seed)
        return partial(
            curve_key,
            network_hash(model),
            tensors_hash(seen),
            self.settings.reduction,
            self.settings.points,
            batch_size=self.options.get("batch_size", BATCH_SIZE),
            device=next(iter(self.chosen.values())).parameter.device.type,
        )

    def _measure(
        self,
        model: nn.Module,
        images: Tensor,
        layers: Mapping[str, Weight],
        key: Callable[..., str] | None,
    ) -> Measurement:
        """The curves; with a store, layers it knows are not measured again."""
        options = self.options.copy()
        options["layers"] = layers
        if self.settings.calib_augment:
            options["redraw"] = redrawing(images, self._seed)
        points, reduction = self.settings.points, self.settings.reduction
        if self.store is None or key is None:
            return measure(model, images, points, reduction, **options)
        options["known"] = self.store.load(key())
        options["on_layer"] = partial(self.store.save, key())
        options["progress"] = self.store.progress
        try:
            measurement = measure(model, images, points, reduction, **options)
        except ValueError:
            self.store.forget(key())
            raise
        for name in measurement.never_executed:
            self.store.note(
                f"layer {name} is never executed: its curve is 0, so it is pruned first"
            )
        return measurement

    def _decide(
        self,
        model: nn.Module,
        images: Tensor,
        measurement: Measurement,
        target: float,
        previous: Mapping[str, float],
        key: Callable[..., str] | None,
    ) -> list[int]:
        """The rate indices: known ones of the very same question, or the solver's."""
        settings = self.settings
        if self.store is None or key is None:
            return self._choose(model, images, measurement, target, previous)
        question = key(
            layers=measurement.names,
            target=target,
            solver=settings.solver,
            budget=settings.budget,
            previous=list(previous.values()),
        )
        known = self.store.load(question).get("choices")
        if known is not None and known.shape == (len(previous),):
            return [int(index) for index in known]
        choices = self._choose(model, images, measurement, target, previous)
        self.store.save(question, "choices", torch.tensor(choices))
        return choices

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
        layers = chosen_weights(model, self.settings)
        positions = output_positions(model, images[:1], layers)
        costs = [
            [(n - pruned_count(rate, n)) * positions[name] for rate in measurement.rates]
            for name, n in zip(measurement.names, sizes, strict=True)
        ]
        budget = int((1 - target) * sum(row[0] for row in costs))
        return solve_exact(distortion, sizes, budget, reached, costs=costs)


def official_mask(weight: Tensor, mask: Tensor, rate: float, previous: float) -> Tensor:
    """The mask after the published program's step from `previous` to `rate` (rule 1.5).

    It removes round(a * u) of the u non-zero weights, a = 1 - (1 - rate) / (1 - previous) in
    float32, at least 0; a layer already empty stays as it is.
    """
    left, before = (1 - torch.tensor(value, dtype=torch.float32) for value in (rate, previous))
    amount = float((1 - left / before).nan_to_num(0.0).clamp(min=0.0))
    removed = round(amount * int((weight * mask).count_nonzero()))
    return keep_largest(magnitude(weight, mask), int(mask.sum()) - removed)
