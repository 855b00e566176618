"""What one result file holds: full provenance, no absolute path, integers before ratios."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from harness.registry import Override
from harness.results.result_files import SCHEMA_VERSION
from harness.results.verdict import Comparison, Verdict


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataFacts(_Model):
    """Which images were used, named by content."""

    dataset: str
    split: str
    fingerprint: str
    copy_name: str  # "official", or how the copy differs
    n: int  # images evaluated
    n_total: int  # images in the split
    approximate_images: int | None = 0  # None: unknown copy


class CheckpointFacts(_Model):
    """Which bytes were loaded."""

    sha256: str
    source: str  # as in the registry: URL, data:..., shipped:..., or "file"
    format: str
    size_bytes: int
    license: str
    stated: dict[str, Any] = Field(default_factory=dict)  # what the file says about itself


class Counts(_Model):
    """Integer counts over the whole split; divided once, here."""

    n: int
    top1: int
    top3: int
    top5: int
    loss_sum: float

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


class LayerRow(_Model):
    """Per-layer counts."""

    name: str
    kind: str
    shape: tuple[int, ...]
    total: int
    nnz: int
    macs_dense: int
    macs_effective: int
    nnz_stored: int | None = None  # of the tensor the weight is worked out from, if another
    uncounted: str = ""  # why there are no MACs
    near_zero: int | None = None  # of nnz: weights below 1e-6; None: an older result
    dead_filters: int | None = None  # output channels without any weight; None: it has no filters


class OutsideRow(_Model):
    """Parameters of one kind that are no weights: no zeros of them count, and no MACs."""

    kind: str  # bias | norm | embedding | table | vector | addition
    params: int
    names: tuple[str, ...] = ()  # of all but biases and norms


class Spread(_Model):
    """One integer figure over the evaluated images; std is the population's."""

    mean: float
    std: float
    minimum: int
    maximum: int
    bin_edges: tuple[float, ...]  # one more than bin_counts
    bin_counts: tuple[int, ...]


class Percentiles(_Model):
    """Milliseconds over all repeats."""

    p50: float
    p90: float
    iqr: float


class LayerTiming(_Model):
    """Median milliseconds inside one layer, per way of running the network."""

    name: str
    ms_p50: dict[str, float]


class Latency(_Model):
    """Several ways of running one network, timed in turns on the same images."""

    ms: dict[str, Percentiles]  # way -> times; the first is the reference
    layers: tuple[LayerTiming, ...] = ()
    batch: int
    repeats: int
    warmup: int
    device: str
    threads: int
    dtype: str = "float32"
    memory_format: str = "contiguous"


class Figures(_Model):
    """What a method measured on the finished network, besides its zeros."""

    values: dict[str, float] = Field(default_factory=dict)
    spread: dict[str, Spread] = Field(default_factory=dict)  # those with one value per image


class Cost(_Model):
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
    layers: tuple[LayerRow, ...] = ()
    extra: dict[str, float] = Field(default_factory=dict)  # paper's figures, and method's own
    spread: dict[str, Spread] = Field(default_factory=dict)  # of those measured per image
    macs_activations: int | None = None  # products of activations; None: an older result
    unsupported: tuple[str, ...] = ()  # operations that may hide products nobody counted
    outside: tuple[OutsideRow, ...] = ()
    left_out: tuple[str, ...] = ()  # weights that the method's include and exclude leave alone

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


class Run(_Model):
    """One seed of a trained result."""

    seed: int
    counts: Counts  # last epoch: the number
    best_top1_pct: float | None = None  # best epoch on the test set, kept apart
    best_epoch: int | None = None
    epochs: float
    steps: int
    wall_s: float
    cpu_s: float | None = None  # of the training itself; None: not measured
    history: tuple[dict[str, float], ...] = ()
    nnz: int | None = None
    figures: dict[str, float] = Field(default_factory=dict)  # by the method, of the last epoch
    best_figures: dict[str, float] = Field(default_factory=dict)  # of the best epoch, if kept


class Protocol(_Model):
    """Named, versioned, hashed procedure."""

    name: str
    version: int
    sha256: str


class FastMeasurement(_Model):
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


class Result(_Model):
    """Everything one run of `reproduce`, `eval`, `train` or `prune` found out."""

    schema_version: Literal[1] = SCHEMA_VERSION
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
    mode: Literal["evaluated", "trained", "pruned"]
    smoke: str = ""  # why this is not a full evaluation; "" = full
    protocol: Protocol  # evaluation
    recipe: Protocol | None = None
    settings: dict[str, Any] = Field(default_factory=dict)  # merged, of method and recipe
    overrides: dict[str, Override] = Field(default_factory=dict)  # what the user changed
    checkpoint: CheckpointFacts | None = None
    data: DataFacts
    counts: Counts  # of the evaluated model; the first seed's for trained results
    runs: tuple[Run, ...] = ()
    cost: Cost
    latency: Latency | None = None
    metrics: dict[str, Comparison]
    verdict: Verdict
    predictions_sha256: str | None = None  # of the array's bytes, see `predictions_sha256`
    precision: str = "float32"
    fast: FastMeasurement | None = None  # on request, beside the float32 one
    batch_size: int
    wall_s: float
    versions: dict[str, str]
    hardware: dict[str, Any]
    code: dict[str, Any]
    notes: tuple[str, ...] = ()

    @field_validator("overrides", mode="before")
    @classmethod
    def _typed_overrides(cls, stored: Any) -> Any:
        """Early results hold each override as a text."""
        if not isinstance(stored, dict):
            return stored
        return {k: Override.from_text(v) if isinstance(v, str) else v for k, v in stored.items()}
