"""Iterative magnitude pruning, layer by layer, of Han et al. 2015 (arXiv 1506.02626)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import ClassVar

from pydantic import Field, field_validator
from torch import Tensor, nn

from methods.activations import skipping_figures
from methods.allocation import magnitude, survivors
from methods.base import Schedule
from methods.inventory import inventory
from methods.layerwise import above_spread
from methods.masked import LayerSettings, MaskedMethod
from methods.masks import global_topk, keep_largest, kept_count


class HanSettings(LayerSettings):
    """What a round removes. Patterns are shell globs over layer names; the first match counts.

    densities: layer pattern -> share of its weights left after the last of N rounds, d; round r
    leaves round(d^(r/N) * n). Layers without one stay dense.
    quality: layer pattern -> q; every round keeps |w| >= q * standard deviation of the survivors.
    Neither: the recipe's amount decides, and one q for all layers follows from it.
    """

    densities: dict[str, float] = Field(default_factory=dict)
    quality: dict[str, float] = Field(default_factory=dict)

    @field_validator("densities")
    @classmethod
    def _shares(cls, densities: dict[str, float]) -> dict[str, float]:
        for pattern, density in densities.items():
            if not 0 < density <= 1:
                raise ValueError(f"density {density} of {pattern!r} is not a share above 0, to 1")
        return densities

    @field_validator("quality")
    @classmethod
    def _positive(cls, quality: dict[str, float]) -> dict[str, float]:
        for pattern, q in quality.items():
            if q <= 0:
                raise ValueError(f"quality {q} of {pattern!r} removes nothing; give one above 0")
        return quality


class HanMagnitude(MaskedMethod):
    """Remove the smallest |w| of each layer and train the survivors on from where they are.

    Biases stay: the paper's tables count weights.
    """

    name: ClassVar[str] = "han-magnitude"
    Settings = HanSettings
    settings: HanSettings

    def attach(self, model: nn.Module, schedule: Schedule) -> None:
        """Take over the weights. Raises ValueError for a run without rounds, or unknown layers."""
        settings = self.settings
        if schedule.epochs:
            raise ValueError(
                "han-magnitude prunes in rounds; use bench prune --method han-magnitude "
                "--rounds N, or a recipe with prune rounds"
            )
        if settings.densities and settings.quality:
            raise ValueError("densities and quality both say what goes; give one of them")
        inventory(model).select(include=(*settings.densities, *settings.quality))
        self.adopt(model)

    def prune(self, model: nn.Module, sparsity: float, images: Tensor | None = None) -> None:
        """Prune to `sparsity` by the one q x standard deviation that leaves exactly so many.

        Raises ValueError if the settings say what goes, or more than that is pruned already.
        """
        if self.settings.densities or self.settings.quality:
            raise ValueError(
                "settings.densities and settings.quality say what goes, and so does the recipe; "
                "drop them, or set prune.amount=null"
            )
        self.adopt(model)
        total = sum(mask.numel() for mask in self.masks.values())
        kept, alive = kept_count(total, sparsity), sum(survivors(self.masks).values())
        if kept > alive:
            raise ValueError(
                f"cannot keep {kept} of {total} weights: only {alive} are left and pruning never "
                "revives a weight; ask for a higher sparsity"
            )
        self.set_masks(global_topk(self.scores(), kept))

    def prune_round(self, model: nn.Module, number: int, count: int) -> None:
        """Round `number` of `count` by the settings' densities or q."""
        if not self.settings.densities and not self.settings.quality:
            super().prune_round(model, number, count)  # refuses
        self.adopt(model)
        if self.settings.quality:
            self.set_masks({name: self._thick(name, mask) for name, mask in self.masks.items()})
            return
        alive = survivors(self.masks)
        masks = {}
        for name, mask in self.masks.items():
            density = _first_match(self.settings.densities, name, 1.0) ** (number / count)
            kept = min(round(density * mask.numel()), alive[name])
            masks[name] = keep_largest(magnitude(self.weights[name], mask), kept)
        self.set_masks(masks)

    def _thick(self, name: str, mask: Tensor) -> Tensor:
        quality = _first_match(self.settings.quality, name, 0.0)
        return above_spread(self.weights[name], mask, quality)

    def scores(self) -> dict[str, Tensor]:
        """|w| in units of the survivors' standard deviation in its layer, -1 where masked."""
        found = {}
        for name, mask in self.masks.items():
            weight = self.weights[name].detach()
            spread = weight[mask].double().std(correction=0).clamp_min(1e-30)
            found[name] = (weight.abs().double() / spread).masked_fill_(~mask, -1.0)
        return found

    def figures(self, model: nn.Module, batches: Iterable[Tensor]) -> Mapping[str, float | Tensor]:
        """Work left when zero weights and zero activations are both skipped, per layer."""
        return skipping_figures(model, batches)


def _first_match(values: Mapping[str, float], layer: str, otherwise: float) -> float:
    return next((v for pattern, v in values.items() if fnmatchcase(layer, pattern)), otherwise)
