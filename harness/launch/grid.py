"""A grid of trainings: every combination of methods, settings, models and data sets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from harness.errors import SettingsError
from harness.registry import assigned

LEVEL = "settings.sparsity"
# Shares of zeros that one reports a method at: half, and the four that tables of papers share.
LEVELS = {"paper": (0.5, 0.8, 0.9, 0.95, 0.98)}
# Commas between values, not those inside [30, 60] or "a, b".
_COMMA = re.compile(r""",(?![^\[]*\])(?=(?:[^"]*"[^"]*")*[^"]*$)""")
_OWN = re.compile(r"([a-z0-9-]+):(.+)")


@dataclass(frozen=True, slots=True)
class GridAxis:
    """One setting and the values it takes; of one method only, if one is named."""

    key: str  # of a recipe, such as settings.sparsity or optimizer.lr
    values: tuple[object, ...]
    method: str | None = None

    @classmethod
    def parse(cls, text: str) -> GridAxis:
        """The axis written as KEY=V1,V2 or METHOD:KEY=V1,V2. Raises SettingsError."""
        left, found, values = text.partition("=")
        if not found or not left:
            raise SettingsError(f"--set {text!r}: expected KEY=V1,V2, such as epochs=3")
        own = _OWN.fullmatch(left)
        method, key = (own[1], own[2]) if own else (None, left)
        parts = _COMMA.split(values)
        read = tuple(assigned([f"{key}={part}"])[key] for part in parts)
        if len(set(map(repr, read))) < len(read):
            raise SettingsError(f"--set {text}: a value stands there twice")
        return cls(key, read, method)


@dataclass(frozen=True, slots=True)
class Grid:
    """What a sweep varies. seeds: run at every point, and averaged."""

    methods: tuple[str, ...]
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    axes: tuple[GridAxis, ...] = ()
    seeds: tuple[int, ...] = (0,)

    def points(self) -> list[GridPoint]:
        """Every combination; the last axis moves fastest, values in the order they were given."""
        found = []
        for dataset, model, method in product(self.datasets, self.models, self.methods):
            axes = self.axes_of(method)
            for values in product(*(axis.values for axis in axes)):
                changes = {axis.key: value for axis, value in zip(axes, values, strict=True)}
                varied = tuple(axis.key for axis in axes if len(axis.values) > 1)
                found.append(GridPoint(method, model, dataset, changes, varied))
        return found

    def axes_of(self, method: str) -> list[GridAxis]:
        """The axes of one method: its own, and those for all that it does not replace.

        A method with an axis of its own for its settings takes no level from the others.
        """
        own = {axis.key: axis for axis in self.axes if axis.method == method}
        shared = [axis for axis in self.axes if axis.method is None]
        kept = [own.pop(axis.key, axis) for axis in shared]
        return [axis for axis in kept if not (own and axis.key == LEVEL)] + list(own.values())


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One place of the grid. varied: the keys that take several values in it."""

    method: str
    model: str
    dataset: str
    changes: Mapping[str, object] = field(default_factory=dict)
    varied: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What tells this point from others with the same method, network and data set."""
        shown = [key for key in self.changes if key in self.varied or key.startswith("settings.")]
        return "-".join(_plain(self.changes[key]) for key in shown)


def level_axes(preset: str | None, axes: Sequence[GridAxis]) -> tuple[GridAxis, ...]:
    """`axes` with the levels of a preset in front. Raises SettingsError for an unknown one."""
    if preset is None:
        return tuple(axes)
    if preset not in LEVELS:
        raise SettingsError(f"no levels are called {preset!r}; known: {', '.join(LEVELS)}")
    if any(axis.key == LEVEL and axis.method is None for axis in axes):
        raise SettingsError(f"--levels {preset} and --set {LEVEL}=... both say the levels")
    return (GridAxis(LEVEL, LEVELS[preset]), *axes)


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
