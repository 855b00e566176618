"""The columns of the leaderboard: how each is headed, printed, explained and sorted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from harness.reports.table.cells import MISSING, status_words
from harness.reports.table.rows import Row


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    fields: what it stands for in csv and json. priority: 0 leaves a narrow terminal's first line
    last. only_if_any: left out of the default table when no row has anything in it.
    """

    key: str
    head: str
    text: Callable[[Row], str]
    fields: tuple[str, ...]
    right: bool = False
    priority: int = 0
    legend: str = ""
    only_if_any: bool = False


def number(value: float | None) -> str:
    """Two decimals, or a dash."""
    return MISSING if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """Two decimals with a sign, or a dash; never "-0.00"."""
    if value is None:
        return MISSING
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text


def _sparsity(r: Row) -> str:
    """Measured; of a row that nobody has measured as printed, in brackets."""
    if r.mode == "published" and r.published_sparsity_pct is not None:
        return f"({r.published_sparsity_pct})"
    return number(r.sparsity_pct)


def _images(r: Row) -> str:
    return f"{r.n_images:,}" if r.n_images else MISSING


def _times(r: Row) -> str:
    if r.dense_ms_p50 is None or r.fastest_ms_p50 is None:
        return MISSING
    return f"{r.dense_ms_p50:.2f} → {r.fastest_ms_p50:.2f}"


def _mean(r: Row) -> str:
    if r.retrained_top1_pct is None:
        return MISSING
    spread = "" if r.retrained_std_pp is None else f" ± {r.retrained_std_pp:.2f}"
    return f"{r.retrained_top1_pct:.2f}{spread}"


def _verdict(r: Row) -> str:
    return f"{r.verdict} ({r.about})" if r.about else status_words(r.verdict, r.paper)


ENTRY = Column("entry", "entry", lambda r: r.entry, ("entry",))
VERDICT = Column("verdict", "verdict", _verdict, ("verdict", "about"))
DEFAULT = (
    ENTRY,
    Column(
        "sparsity",
        "sparsity %",
        _sparsity,
        ("sparsity_pct",),
        True,
        2,
        "sparsity over all conv+linear weights",
    ),
    Column(
        "macs",
        "MACs (M)",
        lambda r: number(None if r.macs_effective is None else r.macs_effective / 1e6),
        ("macs_effective", "macs_dense"),
        True,
        2,
        "MACs of one image, density applied",
    ),
    Column(
        "reported",
        "reported −%",
        lambda r: number(r.reported_reduction_pct),
        ("reported_reduction_pct",),
        True,
        5,
        "reported −% = MACs saved by the paper's counter",
        only_if_any=True,
    ),
    Column(
        "strict",
        "strict −%",
        lambda r: number(r.strict_reduction_pct),
        ("strict_reduction_pct",),
        True,
        5,
        "strict −% = MACs saved once gates, classifier and refilled channels are counted (these "
        "networks keep all their weights, and MACs are the mean over images)",
        only_if_any=True,
    ),
    Column(
        "ms",
        "ms",
        _times,
        ("dense_ms_p50", "fastest_ms_p50"),
        True,
        5,
        "ms = median of one image (batch 1), dense → fastest way of running the pruned network, "
        "timed in turns",
        only_if_any=True,
    ),
    Column(
        "published",
        "published",
        lambda r: r.published_top1_pct or MISSING,
        ("published_top1_pct",),
        True,
    ),
    Column(
        "evaluated",
        "evaluated",
        lambda r: number(r.evaluated_top1_pct),
        ("evaluated_top1_pct",),
        True,
        legend="evaluated = published checkpoint measured by us",
    ),
    Column(
        "retrained",
        "retrained",
        _mean,
        ("retrained_top1_pct", "retrained_std_pp", "n_seeds"),
        True,
        1,
        "retrained = mean ± std over seeds (ddof 1)",
    ),
    Column(
        "delta",
        "Δ pp",
        lambda r: signed(r.delta_pp),
        ("delta_pp",),
        True,
        legend="Δ = measured - published in points",
    ),
    VERDICT,
    Column("n", "n", _images, ("n_images",), True, 3, "n = images"),
    Column(
        "version",
        "v",
        lambda r: str(r.protocol_version),
        ("protocol_version",),
        True,
        4,
        "v = version of the evaluation protocol",
    ),
    Column("date", "date", lambda r: r.date or MISSING, ("date",), False, 4),
)
DATASET = Column("dataset", "data set", lambda r: r.dataset, ("dataset",), False, 2)
EXTRA = (  # on request only; the data set also where there are several
    Column("paper", "paper", lambda r: r.paper or MISSING, ("paper",)),
    Column("method", "method", lambda r: r.method, ("method",)),
    Column("model", "model", lambda r: r.model, ("model",)),
    DATASET,
    Column("baseline", "baseline", lambda r: r.baseline or MISSING, ("baseline",)),
    Column(
        "weights",
        "weights (M)",
        lambda r: MISSING if r.weights_nnz is None else f"{r.weights_nnz / 1e6:.3f}",
        ("weights_nnz", "weights_total"),
        True,
        legend="weights = non-zero conv+linear weights",
    ),
    Column(
        "params",
        "params (M)",
        lambda r: MISSING if r.params_nnz is None else f"{r.params_nnz / 1e6:.3f}",
        ("params_nnz",),
        True,
        legend="params = non-zero parameters, biases and norms included",
    ),
    Column(
        "size",
        "size (kB)",
        lambda r: MISSING if r.size_bytes is None else f"{r.size_bytes / 1e3:,.0f}",
        ("size_bytes",),
        True,
        legend="size = float32, one bit per weight and the non-zero ones",
    ),
    Column("partial", "partial", lambda r: r.partial or MISSING, ("partial",)),
    Column("protocol", "protocol", lambda r: r.protocol, ("protocol",)),
    Column("reason", "reason", lambda r: r.reason, ("reason",)),
    Column("note", "note", lambda r: r.note or MISSING, ("note",)),
    Column("result", "result", lambda r: r.result_id or MISSING, ("result_id",)),
)
BY_KEY = {column.key: column for column in (*DEFAULT, *EXTRA)}
PRESETS = {  # a question -> the columns that answer it
    "accuracy": ("sparsity", "published", "evaluated", "retrained", "delta"),
    "cost": ("sparsity", "params", "size", "macs", "ms", "evaluated", "retrained"),
    "claims": ("published", "evaluated", "retrained", "delta", "verdict", "reason"),
}


def chosen_columns(keys: Iterable[str]) -> tuple[Column, ...]:
    """The columns called `keys`, or of the presets called so, in that order, the entry always
    first. Raises KeyError.
    """
    names = dict.fromkeys(name for key in keys for name in PRESETS.get(key, (key,)))
    return (ENTRY, *(BY_KEY[name] for name in names if name != ENTRY.key))


def shown_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns of the default table that say something about any of `rows`."""
    said = [c for c in DEFAULT if not c.only_if_any or any(c.text(r) != MISSING for r in rows)]
    if len({r.dataset for r in rows}) > 1:
        said.insert(said.index(ENTRY) + 1, DATASET)
    return tuple(said)


def legend(columns: Sequence[Column]) -> str:
    """What `columns` mean."""
    return "; ".join(["top-1 in %", *(c.legend for c in columns if c.legend)]) + "."


def marks(rows: Sequence[Row]) -> dict[str, str]:
    """Note -> its mark, numbered in the order in which they appear."""
    notes = dict.fromkeys(r.note for r in rows if r.note)
    return {text: f"[{i}]" for i, text in enumerate(notes, 1)}
