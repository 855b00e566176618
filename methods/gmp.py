"""GMP: gradual magnitude pruning with a cubic ramp (arXiv 1710.01878)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

from pydantic import Field, model_validator
from torch import Tensor, nn

from methods.allocation import survivors
from methods.base import Method, Schedule
from methods.budgets import BudgetSettings, BudgetValues, targets, truncated_count
from methods.masked import AllocationName, MaskedMethod, Sparsity
from methods.masks import kept_count
from methods.parametrized import KeepLargest, ParametrizedMethod

BEGIN_FRAC, END_FRAC = 0.2, 0.8  # of the run, when begin and end are not given
UPDATES, MAX_INTERVAL = 100, 1000  # default pace: 100 updates, at most 1000 steps apart


class GMPSettings(BudgetSettings):
    """Where the ramp ends (sparsity or budget), when it runs, and how layers share the sparsity.

    variant "paper": masks zero the stored weights, updated every `update_every` steps from
    `begin` to `end`; the last update is at `end` and meets the target exactly. With `epochs` masks
    are drawn at the start of those alone, so a ramp that ends later leaves the target unmet.
    variant "released" (the STR repository): one rate per epoch, `begin` to `end` inclusive with
    the ramp stretched by one epoch, so the target is missed by 1/n^3 of it; the mask is chosen
    anew from unmasked stored weights at every forward pass; counts truncated; layers uniform.
    """

    initial: Sparsity = 0.0  # at the first update
    begin: int | None = Field(default=None, ge=0)  # epoch; None = 20 % of the run
    end: int | None = Field(default=None, ge=0)  # epoch; None = 80 % of the run
    update_every: int | None = Field(default=None, ge=1)  # steps; None = 100 updates in all
    epochs: tuple[int, ...] = ()  # at whose start masks are drawn, instead of `update_every`
    allocation: AllocationName = "uniform"
    variant: Literal["paper", "released"] = "paper"

    @model_validator(mode="after")
    def _consistent(self) -> GMPSettings:
        if self.sparsity is not None and self.initial > self.sparsity:
            raise ValueError(
                f"initial {self.initial} is above sparsity {self.sparsity}; gmp only prunes"
            )
        if self.begin is not None and self.end is not None and self.begin > self.end:
            raise ValueError(f"begin {self.begin} is after end {self.end}; swap them")
        if self.budget and self.allocation != "uniform":
            raise ValueError(
                f"a budget fixes the layers; drop it or allocation={self.allocation!r}"
            )
        released = self.variant == "released"
        paced = self.update_every or self.epochs
        if released and (self.initial or paced or self.allocation != "uniform"):
            raise ValueError(
                "the released gmp has one uniform update per epoch from 0; drop initial, "
                "update_every, epochs and allocation, or use variant=paper"
            )
        self._check_epochs()
        return self

    def _check_epochs(self) -> None:
        if self.epochs and (self.begin is None or self.end is None or self.update_every):
            raise ValueError("epochs stand on a ramp from begin to end; set both, not update_every")
        outside = [e for e in self.epochs if not (self.begin or 0) <= e <= (self.end or 0)]
        if outside or list(self.epochs) != sorted(set(self.epochs)):
            raise ValueError(
                f"epochs {list(self.epochs)} must ascend from {self.begin} to {self.end}"
            )


def cubic(progress: float, initial: float, final: float) -> float:
    """The ramp's sparsity: final - (final - initial) * (1 - progress)^3, progress cut to 0..1."""
    left = 1 - min(max(progress, 0.0), 1.0)
    return final - (final - initial) * left**3


def released_rate(epoch: int, final: float, begin: int, end: int) -> float:
    """The STR repository's rate in `epoch`: 0 before `begin`, constant after `end`."""
    if epoch < begin:
        return 0.0
    length = end - begin + 1
    return final - final * (1 - (min(epoch, end) - begin) / length) ** 3


class GMP(Method):
    """Prune gradually by magnitude; `variant` chooses between two unlike implementations."""

    name: ClassVar[str] = "gmp"
    Settings = GMPSettings

    def __init__(self, settings: GMPSettings) -> None:
        super().__init__(settings)
        kind = StoredMaskGMP if settings.variant == "paper" else RecomputedMaskGMP
        self.pruner: StoredMaskGMP | RecomputedMaskGMP = kind(settings)

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self.pruner.attach(model, schedule)

    def begin_epoch(self, epoch: int) -> None:
        self.pruner.begin_epoch(epoch)

    def begin_step(
        self, step: int, images: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        self.pruner.begin_step(step)

    def after_backward(self) -> None:
        self.pruner.after_backward()

    def after_step(self) -> None:
        self.pruner.after_step()

    def state_dict(self) -> dict[str, Any]:
        return self.pruner.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.pruner.load_state_dict(state)

    def finalize(self, model: nn.Module) -> nn.Module:
        return self.pruner.finalize(model)


class StoredMaskGMP(MaskedMethod):
    """The paper's form: masks zero the stored weights and only ever grow."""

    name: ClassVar[str] = "gmp"
    settings: GMPSettings

    def __init__(self, settings: GMPSettings) -> None:
        super().__init__(settings)
        self._targets: BudgetValues = {}
        self._begin = self._end = 0  # steps
        self._every = 1
        self._due: frozenset[int] = frozenset()  # steps; empty = every `_every`

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self.adopt(model)
        self._targets = targets(model, self.settings)
        self._begin, self._end = _ramp_steps(self.settings, schedule)
        pace = max(1, min(MAX_INTERVAL, (self._end - self._begin) // UPDATES))
        self._every = self.settings.update_every or pace
        self._due = frozenset(e * schedule.steps_per_epoch for e in self.settings.epochs)

    def begin_step(
        self, step: int, images: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        regular = self._begin <= step < self._end and (step - self._begin) % self._every == 0
        if step in self._due if self._due else regular or step == self._end:
            length = self._end - self._begin
            self._update((step - self._begin) / length if length else 1.0)

    def _update(self, progress: float) -> None:
        settings = self.settings
        if not settings.budget:
            assert settings.sparsity is not None  # the settings refuse anything else
            total = sum(mask.numel() for mask in self.masks.values())
            kept = kept_count(total, cubic(progress, settings.initial, settings.sparsity))
            self.prune_to(min(kept, sum(survivors(self.masks).values())), settings.allocation)
            return
        alive = survivors(self.masks)
        counts = {}
        for name, mask in self.masks.items():
            size, target = mask.numel(), self._targets[name]
            final = 1 - target / size if isinstance(target, int) else target
            kept = kept_count(size, cubic(progress, min(settings.initial, final), final))
            counts[name] = min(kept, alive[name])
        self.keep(counts)


class RecomputedMaskGMP(ParametrizedMethod):
    """The STR repository's form: stored weights are never zeroed, the rate moves per epoch."""

    name: ClassVar[str] = "gmp"
    settings: GMPSettings

    def __init__(self, settings: GMPSettings) -> None:
        super().__init__(settings)
        self._targets: BudgetValues = {}
        self._sizes: dict[str, int] = {}
        self._begin = self._end = 0  # epochs

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self._targets = targets(model, self.settings)
        self._begin, self._end = _ramp_epochs(self.settings, schedule)
        super().attach(model, schedule)

    def rule(self, name: str, weight: Tensor) -> KeepLargest:
        """Dense until the first epoch sets a rate; gradients only reach kept weights."""
        self._sizes[name] = weight.numel()
        return KeepLargest(weight.numel(), straight_through=False)

    def begin_epoch(self, epoch: int) -> None:
        for name, rule in self._rules.items():
            rate = released_rate(epoch, self._final_rate(name), self._begin, self._end)
            rule.kept = truncated_count(rate, self._sizes[name])

    @property
    def _rules(self) -> dict[str, KeepLargest]:
        return {name: cast(KeepLargest, rule) for name, rule in self.rules.items()}

    def _final_rate(self, name: str) -> float:
        target = self._targets[name]
        return 1 - target / self._sizes[name] if isinstance(target, int) else target

    def state_dict(self) -> dict[str, Any]:
        """Kept weights per layer as of the current epoch."""
        return {"kept": {name: rule.kept for name, rule in self._rules.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, rule in self._rules.items():
            rule.kept = int(state["kept"][name])


def _ramp_steps(settings: GMPSettings, schedule: Schedule) -> tuple[int, int]:
    """First and last update step of the paper variant. Raises ValueError if outside the run."""
    steps, per_epoch = schedule.epochs * schedule.steps_per_epoch, schedule.steps_per_epoch
    begin = int(BEGIN_FRAC * steps) if settings.begin is None else settings.begin * per_epoch
    end = int(END_FRAC * steps) if settings.end is None else settings.end * per_epoch
    if not begin <= end < steps:
        raise ValueError(
            f"gmp ramp from step {begin} to {end} does not fit a run of {steps} steps "
            f"({schedule.epochs} epochs); begin and end must be epochs below {schedule.epochs}"
        )
    return begin, end


def _ramp_epochs(settings: GMPSettings, schedule: Schedule) -> tuple[int, int]:
    """First and last ramp epoch of the released variant. Raises ValueError if outside the run."""
    begin = int(BEGIN_FRAC * schedule.epochs) if settings.begin is None else settings.begin
    default_end = max(begin, int(END_FRAC * schedule.epochs) - 1)
    end = default_end if settings.end is None else settings.end
    if not begin <= end < schedule.epochs:
        raise ValueError(
            f"gmp ramp from epoch {begin} to {end} does not fit a run of {schedule.epochs} epochs; "
            f"begin and end must be below {schedule.epochs}"
        )
    return begin, end
