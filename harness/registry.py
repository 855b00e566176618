"""registry.yaml as frozen, typed entries. Imports nothing heavy: `bench list` lives on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Paper:
    """Where numbers come from and how they were counted."""

    key: str
    title: str
    venue: str
    url: str  # paper page
    code: str | None  # repository
    license: str  # of the released code and checkpoints; "none stated" when there is none
    flops_convention: str  # id understood by harness.verdict; see harness/profile/conventions.py


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Versioned preprocessing + metric protocol. Pixels are scaled to [0, scale], then (x-mean)/std."""

    name: str
    version: int
    dataset: str
    split: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: int | None = None  # short side, pixels; None = pictures already have their size
    crop: int | None = None
    interpolation: str = "bilinear"  # bilinear | bicubic
    channels: str = "rgb"  # rgb | bgr | gray
    scale: float = 1.0  # 1.0: pixels in [0, 1]; 255.0: pixels in [0, 255]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published file. Sources are tried in order.

    source forms: http(s)://..., gdrive:ID, data:PATH (below the data root), shipped:NAME (comes with the code).
    """

    sources: tuple[str, ...]
    format: str  # id understood by harness.checkpoints.formats
    sha256: str | None = None  # None = never seen; pinned in registry.lock on first good download
    size_bytes: int | None = None
    license: str = "none stated"


@dataclass(frozen=True, slots=True)
class Published:
    """One printed number: digits kept as text."""

    text: str  # exactly as printed, without unit: "76.00"
    source: str  # "README, global magnitude table"
    suspect: bool = False  # shown, never judged
    note: str = ""
    std: str | None = None
    n_runs: int | None = None

    @property
    def value(self) -> float:
        return float(self.text)

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed digit: "75.03" -> 0.005."""
        _, _, decimals = self.text.partition(".")
        return 0.5 * 10.0 ** -len(decimals)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the registry: everything needed to reproduce and to dispute it."""

    id: str
    paper: str  # key into Registry.papers
    method: str  # name of a method in `methods`
    model: str  # name understood by harness.models.build
    dataset: str
    evaluation: str  # key into Registry.evaluations
    recipe: str | None = None  # key into Registry.recipes; None = no training protocol is known
    settings: Mapping[str, object] = field(default_factory=dict)  # of the method
    baseline: str | None = None  # id of the dense entry
    checkpoint: Checkpoint | None = None
    published: Mapping[str, Published] = field(default_factory=dict)  # metric name -> value
    prunable_exclude: tuple[str, ...] = ()  # layers outside the paper's sparsity denominator
    granularity: str = "unstructured"  # unstructured | structured | dynamic | dense
    suites: tuple[str, ...] = ()
    note: str = ""
    aliases: tuple[str, ...] = ()
