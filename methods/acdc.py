"""AC/DC: alternating compressed / decompressed training (arXiv 2106.12379).

Whole epochs are dense or sparse. A compression chooses fresh masks at the target sparsity, a
decompression frees all weights (pruned ones restart from 0) and clears the momentum.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import field_validator, model_validator
from torch import Tensor, nn

from methods import published_formats
from methods.base import Schedule
from methods.masked import LayerSettings, MaskedMethod, Sparsity
from methods.masks import Masks, kept_count, kth_largest, n_of_m

SCORE_OFFSET = 1e-4  # released code: lets a live weight of 0 rank above a masked one
PHASES = 13  # alternating 5-epoch phases between warm-up and the last dense one, of 100 epochs


class ACDCSettings(LayerSettings):
    """Sparsity, its shape, and the epochs at which the phases switch.

    Without `compress` the paper's 100-epoch pattern is scaled to the run (`scaled_phases`).
    variant "intended" keeps exactly N - round(sparsity * N) weights; "released" applies the
    strict threshold of the published code, which keeps one fewer and drops all ties with it.
    """

    sparsity: Sparsity | None = None  # zeros / chosen weights; follows from an N:M pattern
    allocation: str = "global"  # global | uniform | N:M, such as 2:4 (N of every M stay)
    compress: tuple[int, ...] = ()  # epochs, from 0, at whose start masks are chosen
    decompress: tuple[int, ...] = ()  # epochs at whose start all weights are freed
    variant: Literal["intended", "released"] = "intended"

    @field_validator("allocation")
    @classmethod
    def _known_allocation(cls, value: str) -> str:
        pattern = _pattern(value)
        if value in ("global", "uniform") or (pattern and 0 < pattern[0] < pattern[1]):
            return value
        raise ValueError(
            f"allocation {value!r} is unknown to acdc; use global, uniform or N:M with "
            "0 < N < M, such as 2:4"
        )

    @model_validator(mode="after")
    def _consistent(self) -> ACDCSettings:
        pattern = _pattern(self.allocation)
        if pattern is None and self.sparsity is None:
            raise ValueError(f"acdc with {self.allocation} masks needs a sparsity, such as 0.9")
        if pattern and self.sparsity is not None:
            implied = 1 - pattern[0] / pattern[1]
            if not math.isclose(implied, self.sparsity, abs_tol=1e-9):
                raise ValueError(
                    f"sparsity {self.sparsity} contradicts {self.allocation}, "
                    f"which means {implied:g}; drop one of them"
                )
        if self.decompress and not self.compress:
            raise ValueError("decompress without compress; give both lists of epochs or neither")
        return self


def _pattern(allocation: str) -> tuple[int, int] | None:
    match = re.fullmatch(r"([0-9]{1,4}):([1-9][0-9]{0,3})", allocation)
    return (int(match[1]), int(match[2])) if match else None


def scaled_phases(epochs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The paper's 100-epoch pattern stretched over `epochs`: (compress, decompress).

    Warm-up for the first tenth; phases of a twentieth (at least one epoch, fewer of them in a
    short run) up to three quarters; dense up to 85 %; sparse to the end. For 100 epochs exactly
    the published epochs. Raises ValueError below 4 epochs, which cannot hold the pattern.
    """
    if epochs < 4:
        raise ValueError(
            f"AC/DC cannot alternate in {epochs} epochs; train for 4 or more, or give compress "
            "and decompress epochs"
        )
    start = max(1, round(epochs / 10))
    last_dense = max(start + 1, min(epochs * 75 // 100, epochs - 2))
    last_sparse = max(epochs * 85 // 100, last_dense + 1)
    span = last_dense - start
    phases = min(PHASES, span if span % 2 else span - 1)  # odd: begins and ends sparse
    switches = [start + round(i * span / phases) for i in range(phases + 1)]
    return (*switches[0:-1:2], last_sparse), tuple(switches[1::2])


def released_masks(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], sparsity: float, allocation: str
) -> Masks:
    """Masks by the published code's threshold rule: name -> bool.

    score = (|w| + 1e-4) * mask in float32; the threshold is the k-th largest score with
    k = ceil(n * (1 - sparsity)) in float64, over all layers ("global") or per layer ("uniform");
    only strictly larger scores stay: k - 1 of them without ties, none of an all-equal tensor.
    At sparsity 0 global changes nothing and uniform keeps everything.
    Raises ValueError when k is 0.
    """
    if allocation == "global" and sparsity == 0:
        return dict(masks)
    scores = {
        name: (weights[name].detach().float().abs() + SCORE_OFFSET) * mask
        for name, mask in masks.items()
    }
    if allocation == "global":
        everything = torch.cat([score.reshape(-1) for score in scores.values()])
        threshold = _released_threshold(everything, sparsity)
        return {name: score > threshold for name, score in scores.items()}
    return {
        name: score > _released_threshold(score.reshape(-1), sparsity)
        for name, score in scores.items()
    }


def _released_threshold(scores: Tensor, sparsity: float) -> Tensor:
    if sparsity == 0:
        return scores.new_tensor(-1.0)
    k = math.ceil(scores.numel() * (1 - sparsity))
    if k < 1:
        raise ValueError(f"sparsity {sparsity} leaves no weight to set the threshold; use below 1")
    return kth_largest(scores, k)


class ACDC(MaskedMethod):
    """Alternate dense and sparse phases; the run ends sparse at the requested count."""

    name: ClassVar[str] = "acdc"
    Settings = ACDCSettings
    settings: ACDCSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._compress: frozenset[int] = frozenset()
        self._decompress: frozenset[int] = frozenset()
        self._epoch = -1  # last epoch begun
        self._reset_pending = False
        self._optimizer: torch.optim.Optimizer | None = None

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        self.adopt(model)
        self._refuse_indivisible()
        compress, decompress = self.settings.compress, self.settings.decompress
        if not compress:
            compress, decompress = scaled_phases(schedule.epochs)
        _check_phases(compress, decompress, schedule.epochs)
        self._compress, self._decompress = frozenset(compress), frozenset(decompress)

    def bind(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def begin_epoch(self, epoch: int) -> None:
        if epoch == self._epoch:  # resumed inside this epoch: its switch is done
            return
        self._epoch = epoch
        if epoch in self._compress:  # wins over a decompression at the same epoch
            self._compress_now()
        elif epoch in self._decompress:
            self.set_masks({name: torch.ones_like(mask) for name, mask in self.masks.items()})
            self._reset_pending = True

    def begin_step(
        self, step: int, images: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        if self._reset_pending:
            self._reset_pending = False
            self._clear_momentum()

    def state_dict(self) -> dict[str, Any]:
        """Masks, the epoch last begun, and whether the momentum still has to be cleared."""
        return {
            **super().state_dict(),
            "epoch": self._epoch,
            "reset_pending": self._reset_pending,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._epoch = int(state["epoch"])
        self._reset_pending = bool(state["reset_pending"])

    @staticmethod
    def import_published(raw: Mapping[str, Any]) -> dict[str, Tensor]:
        """A published AC/DC checkpoint -> plain torchvision-like keys, masks multiplied in."""
        return published_formats.acdc(raw)

    def _compress_now(self) -> None:
        pattern = _pattern(self.settings.allocation)
        sparsity = self.settings.sparsity
        if pattern:
            self.set_masks({name: n_of_m(w, *pattern) for name, w in self.weights.items()})
            return
        assert sparsity is not None  # the settings refuse anything else
        if self.settings.variant == "released":
            allocation = self.settings.allocation
            self.set_masks(released_masks(self.weights, self.masks, sparsity, allocation))
        else:
            total = sum(mask.numel() for mask in self.masks.values())
            self.prune_to(kept_count(total, sparsity), self.settings.allocation)

    def _clear_momentum(self) -> None:
        """Zero the momentum of every parameter, whether it has a gradient at this moment or not.

        The published code skips parameters whose gradient is None, which since torch 2.0 is all
        of them at this point; the paper's rule has no such exception.
        """
        if self._optimizer is None:
            raise ValueError("acdc resets momentum: call bind(optimizer) before the first step")
        buffers = [
            state[key]
            for state in self._optimizer.state.values()
            for key in ("momentum_buffer", "exp_avg")
            if isinstance(state.get(key), Tensor)
        ]
        if buffers:
            torch._foreach_zero_(buffers)

    def _refuse_indivisible(self) -> None:
        pattern = _pattern(self.settings.allocation)
        for name, weight in self.weights.items():
            if pattern and weight.numel() % pattern[1]:
                raise ValueError(
                    f"{self.settings.allocation} does not divide layer {name!r} of "
                    f"{weight.numel()} weights; add it to exclude or choose another pattern"
                )


def _check_phases(compress: Sequence[int], decompress: Sequence[int], epochs: int) -> None:
    for epoch in (*compress, *decompress):
        if not 0 <= epoch < epochs:
            raise ValueError(
                f"phase switch at epoch {epoch} is outside a run of {epochs} epochs; adjust "
                "compress and decompress, or drop both to scale the published pattern"
            )
    if decompress and max(decompress) > max(compress):
        raise ValueError(
            f"the run would end dense: the last decompression is at epoch {max(decompress)}, the "
            f"last compression at {max(compress)}; end with a compression"
        )
