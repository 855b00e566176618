"""What one result file holds: full provenance, no absolute path, integers before ratios.

Frozen dataclasses, read and checked by their annotations (`harness.registry.from_mapping`): an
unknown key, a missing one or a value of another type is an error that names its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from harness.data import ImageIdentity
from harness.errors import MetricError
from harness.registry import Fault, Overrides
from harness.results.result_files import SCHEMA_VERSION
from harness.results.verdicts import Comparison, Verdict

Mode = Literal["evaluated", "counted", "trained", "pruned"]


def _require(holds: bool, name: str, problem: str) -> None:
    if not holds:
        raise Fault((name,), problem)


def require_time(name: str, text: str) -> None:
    """Raises Fault unless `text` is a moment in ISO 8601."""
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise Fault((name,), f"{text!r} is no time") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFacts:
    """Which bytes were loaded."""

    sha256: str
    source: str  # as in the registry: URL, data:..., shipped:..., or file:NAME
    format: str
    size_bytes: int
    license: str
    stated: Mapping[str, Any] = field(default_factory=dict)  # what the file says about itself
    notes: tuple[str, ...] = ()  # how the file was read: part chosen, dropped, cast

    @property
    def by_hand(self) -> bool:
        """Whether somebody gave the file, instead of a source of the registry."""
        return self.source.startswith("file:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Integer counts over the images that were evaluated; divided once, here."""

    n: int
    top1: int
    top3: int
    top5: int
    loss_sum: float

    def __post_init__(self) -> None:
        _require(0 <= self.top1 <= self.top3 <= self.top5 <= self.n, "top1", "not 0 <= ... <= n")
        _require(self.n > 0, "n", "no image was counted")

    @property
    def top1_pct(self) -> float:
        return 100.0 * self.top1 / self.n

    @property
    def top3_pct(self) -> float:
        return 100.0 * self.top3 / self.n

    @property
    def top5_pct(self) -> float:
        return 100.0 * self.top5 / self.n

    @property
    def loss(self) -> float:
        return self.loss_sum / self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCost:
    """One weight: counts of what activations are multiplied by (after masks, standardisation)."""

    name: str
    kind: str  # conv | conv_transpose | linear | attention | recurrent | bank
    shape: tuple[int, ...]
    total: int
    nnz: int  # values that are not exactly 0.0; 1e-30 is not zero
    macs_dense: int = 0
    macs_effective: int = 0
    nnz_stored: int | None = None  # of the tensor the weight is worked out from, if another
    nnz_mixed: int = 0  # places of a bank at which any of its kernels has a weight
    uncounted: str = ""  # why there are no MACs
    near_zero: int | None = None  # of nnz: weights below 1e-6; None: an older result
    dead_filters: int | None = None  # output channels without any weight; None: it has no filters

    def __post_init__(self) -> None:
        _require(0 <= self.nnz <= self.total and self.total > 0, "nnz", "not of 0 to total")

    @property
    def density(self) -> float:
        return self.nnz / self.total

    @property
    def positions(self) -> int:
        """Output positions the weight is applied to (height * width; 1 for a classifier)."""
        return self.macs_dense // self.total


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideRow:
    """Parameters of one kind that are no weights: no zeros of them count, and no MACs."""

    kind: str  # bias | norm | embedding | table | vector | addition
    params: int
    names: tuple[str, ...] = ()  # of all but biases and norms


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One integer figure over the evaluated images; std is the population's."""

    mean: float
    std: float
    minimum: int
    maximum: int
    bin_edges: tuple[float, ...]  # one more than bin_counts
    bin_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Milliseconds of `n` passes. Results of schema version 1 hold no quartiles: None."""

    n: int
    p25: float | None = None
    p50: float
    p75: float | None = None
    p90: float

    def __post_init__(self) -> None:
        _require(self.p50 > 0, "p50", "no time passed")

    @property
    def iqr(self) -> float | None:
        return None if self.p25 is None or self.p75 is None else self.p75 - self.p25


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTiming:
    """Median milliseconds inside one layer, per way of running the network."""

    name: str
    ms_p50: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Several ways of running one network, timed in turns on the same images."""

    ms: Mapping[str, Times]  # way -> times; the first is the reference
    layers: tuple[LayerTiming, ...] = ()
    batch: int
    repeats: int
    warmup: int
    device: str
    threads: int
    dtype: str = "float32"
    memory_format: str = "contiguous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a method measured on the finished network, besides its zeros."""

    values: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, Spread] = field(default_factory=dict)  # those with one value per image


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the network costs. sparsity = 1 - nnz/total over all weights of the inventory.

    macs_dense and macs_effective are of weights; what attention multiplies besides is in
    macs_activations, which zeros in weights do not lower. macs_effective: dense MACs times density,
    or the mean over images if a method measured them.
    """

    params: int
    nnz: int
    total: int
    macs_dense: int
    macs_effective: int
    fvcore_total: int
    prunable_nnz: int  # in the paper's denominator
    prunable_total: int
    layers: tuple[LayerCost, ...] = ()
    extra: Mapping[str, float] = field(default_factory=dict)  # paper's figures, and method's own
    spread: Mapping[str, Spread] = field(default_factory=dict)  # of those measured per image
    macs_activations: int | None = None  # products of activations; None: an older result
    unsupported: tuple[str, ...] = ()  # operations that may hide products nobody counted
    outside: tuple[OutsideRow, ...] = ()
    left_out: tuple[str, ...] = ()  # weights that the method's include and exclude leave alone

    def __post_init__(self) -> None:
        _require(0 <= self.nnz <= self.total and self.total > 0, "nnz", "not of 0 to total")
        inside = 0 <= self.prunable_nnz <= self.prunable_total
        _require(inside, "prunable_nnz", "not of 0 to prunable_total")

    @property
    def sparsity_pct(self) -> float:
        return 100.0 * (1.0 - self.nnz / self.total)

    @property
    def collapsed(self) -> tuple[str, ...]:
        return tuple(x.name for x in self.layers if x.nnz == 0)

    @property
    def near_zero(self) -> int:
        """Weights that look like zeros and are none: not 0, and below 1e-6."""
        return sum(x.near_zero or 0 for x in self.layers)

    @property
    def dead_filters(self) -> int:
        """Output channels of all layers whose weights are zero, every one."""
        return sum(x.dead_filters or 0 for x in self.layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One seed of a trained result."""

    seed: int
    counts: Counts  # last epoch: the number
    best_top1_pct: float | None = None  # best epoch on the test set, kept apart
    best_epoch: int | None = None
    epochs: float
    steps: int
    wall_s: float
    cpu_s: float | None = None  # of the training itself; None: not measured
    history: tuple[Mapping[str, float], ...] = ()
    nnz: int | None = None
    figures: Mapping[str, float] = field(default_factory=dict)  # by the method, of the last epoch
    best_figures: Mapping[str, float] = field(default_factory=dict)  # of the best epoch, if kept
    key: str | None = None  # hash of the configuration; names its folder. None: an older result


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Named, versioned, hashed procedure."""

    name: str
    version: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The same images, prepared as another place states it for the same file."""

    protocol: Protocol
    counts: Counts
    predictions_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FastMeasurement:
    """The same images in less precise arithmetic: a measurement of its own, never judged.

    Rates count the model alone, without decoding, normalising and compiling.
    """

    counts: Counts
    flipped: int  # images whose predicted class is not that of the float32 evaluation
    predictions_sha256: str
    dtype: str
    memory_format: str
    compiled: bool
    preparation_s: float  # first batch, with compilation where there is one
    images_per_s: float
    float32_images_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Everything one run of `reproduce`, `eval`, `train` or `prune` found out.

    mode: "evaluated" = given weights on images, "counted" = given weights alone (no images were
    here), "trained" and "pruned" = weights of our own. Of a counted network there is no accuracy:
    `data` and `counts` are None.
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    result_id: str
    created: str  # UTC, ISO 8601
    entry: str  # registry id, or the user's own name
    entry_sha256: str | None
    paper: str | None
    method: str
    model: str
    model_sha256: str | None = None  # of the file that holds a network of one's own
    dataset: str
    granularity: str
    mode: Mode
    smoke: str = ""  # why this is not a full evaluation; "" = full
    protocol: Protocol  # evaluation
    recipe: Protocol | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # merged, of method and recipe
    overrides: Overrides = field(default_factory=dict)  # what the user changed of the recipe
    checkpoint: CheckpointFacts | None = None
    data: ImageIdentity | None
    counts: Counts | None  # of the evaluated model; the first seed's for trained results
    variants: tuple[Variant, ...] = ()  # of further evaluations that are stated for the file
    runs: tuple[Run, ...] = ()
    cost: Cost
    latency: Latency | None = None
    metrics: Mapping[str, Comparison]
    verdict: Verdict
    predictions_sha256: str | None = None  # of the array's bytes, see `predictions_sha256`
    precision: str = "float32"
    fast: FastMeasurement | None = None  # on request, beside the float32 one
    batch_size: int
    wall_s: float
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]
    code: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_time("created", self.created)

    @property
    def n_images(self) -> int:
        """How many images were evaluated."""
        return 0 if self.counts is None else self.counts.n

    @property
    def seen(self) -> tuple[ImageIdentity, Counts]:
        """The images and what was counted on them. Raises MetricError if there were none."""
        if self.data is None or self.counts is None:
            msg = f"{self.entry}: result {self.result_id} counted weights and saw no image"
            raise MetricError(f"{msg}. Measure it: bench reproduce {self.entry}")
        return self.data, self.counts
