"""One result as one line of a table, numbers unrounded."""

from __future__ import annotations

from dataclasses import dataclass

from harness.registry import LOCAL
from harness.results import (
    Comparison,
    Result,
    failed,
    packed_bytes,
    partial_because,
    sample_std,
)

NOTHING = Comparison("reported")  # of a network whose weights alone were counted


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the leaderboard: a result, or a published row that nobody has measured.

    The last three fields depend on the registry and on what else is shown; `row` leaves them empty
    and `harness.reports.table.leaderboard` fills them in. What a network costs counts zeros out:
    params and size_bytes are of what is left.
    """

    entry: str
    paper: str | None
    method: str
    model: str
    dataset: str
    granularity: str
    mode: str  # evaluated | trained | pruned | published (nobody has measured it)
    published_top1_pct: str | None  # digits as printed
    evaluated_top1_pct: float | None
    retrained_top1_pct: float | None  # mean over seeds
    retrained_std_pp: float | None  # ddof 1
    n_seeds: int | None
    delta_pp: float | None
    sparsity_pct: float | None  # all conv + linear weights; None: a dynamic network keeps all
    weights_nnz: int | None  # non-zero conv + linear weights; None: not measured
    weights_total: int | None
    macs_effective: int | None
    macs_dense: int | None
    reported_reduction_pct: float | None  # by the paper's own counter, where it has one
    strict_reduction_pct: float | None  # everything counted that has to be computed
    dense_ms_p50: float | None  # one image, dense network
    fastest_ms_p50: float | None  # one image, the fastest other way of running this one
    n_images: int
    verdict: str
    about: str  # the metrics that decided the verdict; "" = top-1, or nothing was judged
    reason: str
    smoke: str  # why this is no full evaluation; "" = full
    note: str  # "" or what a reader must know: smoke, short schedule, approximate images
    protocol: str  # evaluation protocol
    protocol_version: int
    date: str
    result_id: str
    published_sparsity_pct: str | None = None  # digits as printed, by the paper's denominator
    partial: str = ""  # why it is no full number: subset, stand-in data, short schedule; "" = full
    params_nnz: int | None = None  # non-zero weights, and all biases and norms
    size_bytes: int | None = None  # float32, one bit per weight and the non-zero ones
    outdated: bool = False  # the registry has a newer version of the protocol
    baseline: str | None = None  # id of the dense entry it is compared with
    is_baseline: bool = False  # shown because another row's baseline

    @property
    def measured_top1_pct(self) -> float | None:
        """Whichever of the two was measured, for one row or one point at a time."""
        found = self.evaluated_top1_pct
        return self.retrained_top1_pct if found is None else found

    @property
    def own(self) -> bool:
        """Whether nobody published it: a network or a run of one's own."""
        return self.paper in (None, LOCAL)

    @property
    def leads(self) -> bool:
        """Whether it may stand on a Pareto front: measured here, in full, by today's protocol.

        The one rule for every board and picture. What is only published, a short schedule, a subset
        and a protocol that was replaced stay off it.
        """
        return self.measured_top1_pct is not None and not self.partial and not self.outdated


def row(result: Result) -> Row:
    """One result as a line of the table."""
    top1 = result.metrics.get("top1_pct", NOTHING)
    sparsity = result.metrics.get("sparsity_pct", NOTHING)
    dynamic = result.granularity == "dynamic"
    dense_ms, fastest_ms = _latencies(result)
    evaluated = result.mode == "evaluated"
    seeds = [run.counts.top1_pct for run in result.runs]
    return Row(
        entry=result.entry,
        paper=result.paper,
        method=result.method,
        model=result.model,
        dataset=result.dataset,
        granularity=result.granularity,
        mode=result.mode,
        published_top1_pct=top1.published,
        evaluated_top1_pct=top1.measured if evaluated else None,
        retrained_top1_pct=None if evaluated else top1.measured,
        retrained_std_pp=sample_std(seeds),
        n_seeds=len(seeds) or None,
        delta_pp=top1.delta,
        sparsity_pct=None if dynamic else result.cost.sparsity_pct,
        weights_nnz=result.cost.nnz,
        weights_total=result.cost.total,
        macs_effective=result.cost.macs_effective,
        macs_dense=result.cost.macs_dense,
        reported_reduction_pct=_figure(result, "flops_reduction_pct"),
        strict_reduction_pct=_figure(result, "strict_reduction_pct"),
        dense_ms_p50=dense_ms,
        fastest_ms_p50=fastest_ms,
        n_images=result.n_images,
        verdict=result.verdict.status,
        about=_about(result),
        reason=result.verdict.reason,
        smoke=result.smoke,
        note=note(result),
        protocol=result.protocol.name,
        protocol_version=result.protocol.version,
        date=result.created[:10],
        result_id=result.result_id,
        published_sparsity_pct=sparsity.published,
        partial=partial_because(result),
        params_nnz=result.cost.params - result.cost.total + result.cost.nnz,
        size_bytes=packed_bytes(result.cost),
    )


def note(result: Result) -> str:
    """What a reader must know about a result, or ""."""
    parts = [result.smoke] if result.smoke else []
    if result.data is not None and result.data.approximate_images:
        parts.append(f"{result.data.approximate_images} approximate images")
    own = result.paper in (None, LOCAL)
    if result.checkpoint is not None and result.checkpoint.by_hand and not own:
        parts.append(f"checkpoint given by hand ({result.checkpoint.source})")
    return "; ".join([*parts, *result.notes])


def _about(result: Result) -> str:
    """Metrics other than top-1 whose status is the overall one, without their units."""
    status = result.verdict.status
    names = [name for name, c in result.metrics.items() if c.status == status and c.published]
    if "top1_pct" in names or not failed(status):
        return ""
    return ", ".join(name.rpartition("_")[0] or name for name in names)


def _figure(result: Result, name: str) -> float | None:
    comparison = result.metrics.get(name)
    return None if comparison is None else comparison.measured


def _latencies(result: Result) -> tuple[float | None, float | None]:
    """Medians of the reference and of the fastest other way."""
    if result.latency is None:
        return None, None
    dense, *others = [times.p50 for times in result.latency.ms.values()]
    return dense, min(others, default=None)
