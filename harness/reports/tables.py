"""Tables from results only: no model, no torch.

A re-evaluated and a retrained number never share a column. Missing values are a dash, not a zero.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from harness.reports.columns import MISSING, folded, status_style
from harness.reports.speed import latency_told
from harness.results import Result
from harness.verdict import Comparison, as_printed, failed

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the leaderboard; numbers unrounded."""

    entry: str
    paper: str | None
    method: str
    model: str
    dataset: str
    published_top1_pct: str | None  # digits as printed
    evaluated_top1_pct: float | None
    retrained_top1_pct: float | None  # mean over seeds
    retrained_std_pp: float | None  # ddof 1
    n_seeds: int | None
    delta_pp: float | None
    sparsity_pct: float | None  # all conv + linear weights; None: a dynamic network keeps all
    macs_effective: int
    macs_dense: int
    reported_reduction_pct: float | None  # by the paper's own counter, where it has one
    strict_reduction_pct: float | None  # everything counted that has to be computed
    dense_ms_p50: float | None  # one image, dense network
    fastest_ms_p50: float | None  # one image, the fastest other way of running this one
    n_images: int
    verdict: str
    about: str  # the metrics that decided the verdict; "" = top-1, or nothing was judged
    reason: str
    note: str  # "" or what a reader must know: smoke, short schedule, approximate images
    protocol: str
    date: str
    result_id: str


@dataclass(frozen=True, slots=True)
class Column:
    """How one column is headed and printed; `priority` 0 is dropped last on a narrow terminal."""

    head: str
    text: Callable[[Row], str]
    right: bool = False
    priority: int = 0
    legend: str = ""  # one sentence, where the general legend does not cover it


COLUMNS = (
    Column("entry", lambda r: r.entry),
    Column("sparsity %", lambda r: _number(r.sparsity_pct), True, 1),
    Column("MACs (M)", lambda r: f"{r.macs_effective / 1e6:.2f}", True, 2),
    Column("published", lambda r: r.published_top1_pct or MISSING, True),
    Column("evaluated", lambda r: _number(r.evaluated_top1_pct), True),
    Column("retrained", lambda r: _mean(r), True, 1),
    Column("Δ pp", lambda r: _signed(r.delta_pp), True),
    Column("verdict", lambda r: f"{r.verdict} ({r.about})" if r.about else r.verdict),
    Column("n", lambda r: f"{r.n_images:,}", True, 3),
    Column("date", lambda r: r.date, False, 4),
)
MEASURED_AT = 3
# Left out when no row has anything in them; shown behind the MACs.
MEASURED_COLUMNS = (
    Column(
        "reported −%",
        lambda r: _number(r.reported_reduction_pct),
        True,
        1,
        "reported −% = MACs saved by the paper's counter.",
    ),
    Column(
        "strict −%",
        lambda r: _number(r.strict_reduction_pct),
        True,
        1,
        "strict −% = MACs saved once gates, classifier and refilled channels are counted; these "
        "networks keep all their weights, and MACs are the mean over images.",
    ),
    Column(
        "ms",
        lambda r: _times(r),
        True,
        1,
        "ms = median of one image (batch 1), dense → fastest way of running the pruned network, "
        "timed in turns.",
    ),
)
LEGEND = (
    "top-1 in %; evaluated = published checkpoint measured by us; retrained = mean ± std over "
    "seeds (ddof 1); Δ = measured - published in points; sparsity over all conv+linear weights; "
    "MACs of one image, density applied; n = images."
)

_SORTS: dict[str, Callable[[Row], float | tuple[str, str]]] = {  # within equals: by name
    "entry": lambda r: 0.0,
    "dataset": lambda r: (r.dataset, r.model),
    "top1": lambda r: -(r.evaluated_top1_pct or r.retrained_top1_pct or 0.0),
    "sparsity": lambda r: -(r.sparsity_pct or 0.0),
    "macs": lambda r: float(r.macs_effective),
    "date": lambda r: -float(r.date.replace("-", "")),  # newest first
}
SORTS = tuple(_SORTS)
SHORTEST_ENTRY = 12  # columns; narrower, an id cannot be read


def leaderboard(
    results: Iterable[Result],
    *,
    paper: str | None = None,
    method: str | None = None,
    model: str | None = None,
    dataset: str | None = None,
    sort: str = "entry",
) -> list[Row]:
    """Rows of the results that match every given filter.

    sort: entry (by name), dataset (then model), top1 and sparsity (highest first), macs (fewest
    first) or date (newest first).
    """
    wanted = {"paper": paper, "method": method, "model": model, "dataset": dataset}
    rows = [
        row(result)
        for result in results
        if all(value is None or getattr(result, name) == value for name, value in wanted.items())
    ]
    return sorted(rows, key=lambda r: (_SORTS[sort](r), r.entry, r.retrained_top1_pct is not None))


def row(result: Result) -> Row:
    """One result as a line of the table."""
    top1 = result.metrics["top1_pct"]
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
        published_top1_pct=top1.published,
        evaluated_top1_pct=top1.measured if evaluated else None,
        retrained_top1_pct=None if evaluated else top1.measured,
        retrained_std_pp=_std(seeds),
        n_seeds=len(seeds) or None,
        delta_pp=top1.delta,
        sparsity_pct=None if dynamic else result.cost.sparsity_pct,
        macs_effective=result.cost.macs_effective,
        macs_dense=result.cost.macs_dense,
        reported_reduction_pct=_figure(result, "flops_reduction_pct"),
        strict_reduction_pct=_figure(result, "strict_reduction_pct"),
        dense_ms_p50=dense_ms,
        fastest_ms_p50=fastest_ms,
        n_images=result.data.n,
        verdict=result.verdict.status,
        about=_about(result),
        reason=result.verdict.reason,
        note=_note(result),
        protocol=f"{result.protocol.name} v{result.protocol.version}",
        date=result.created[:10],
        result_id=result.result_id,
    )


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


def shown_columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """The columns that say something about any of `rows`."""
    measured = [c for c in MEASURED_COLUMNS if any(c.text(r) != MISSING for r in rows)]
    return (*COLUMNS[:MEASURED_AT], *measured, *COLUMNS[MEASURED_AT:])


def legend(rows: Sequence[Row]) -> str:
    """What the columns of a table of `rows` mean."""
    return " ".join([LEGEND, *(c.legend for c in shown_columns(rows) if c.legend)])


def _note(result: Result) -> str:
    parts = [result.smoke] if result.smoke else []
    if result.data.approximate_images:
        parts.append(f"{result.data.approximate_images} approximate images")
    return "; ".join([*parts, *result.notes])


def _std(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def rich_table(rows: Sequence[Row], width: int) -> Table:
    """The leaderboard for a terminal of `width` columns; less important columns go first."""
    from rich.table import Table
    from rich.text import Text

    columns = _fitting(rows, width)
    marks = _marks(rows)
    caption = "\n".join([legend(rows), *(f"{mark} {note}" for note, mark in marks.items())])
    room = width - sum(_widths(columns[1:], rows)) - 2 * (len(columns) - 1)
    room -= max([len(mark) + 1 for mark in marks.values()], default=0)
    table = Table(box=None, pad_edge=False, header_style="bold", caption=Text(caption))
    table.caption_justify = "left"
    for column in columns:
        table.add_column(
            column.head,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=column.right or column is COLUMNS[0],
        )
    for r in rows:
        entry = Text(folded(r.entry, max(room, SHORTEST_ENTRY)))
        if r.note:
            entry.append(f" {marks[r.note]}", style="dim")
        table.add_row(entry, *(Text(_cell(c, r), style=_style(c, r)) for c in columns[1:]))
    return table


def _marks(rows: Sequence[Row]) -> dict[str, str]:
    """Note -> its mark, numbered in the order in which they appear."""
    notes = dict.fromkeys(r.note for r in rows if r.note)
    return {note: f"[{i}]" for i, note in enumerate(notes, 1)}


def _cell(column: Column, r: Row) -> str:
    """What a terminal shows: the metrics behind a verdict stand below it."""
    text = column.text(r)
    return text.replace(" (", "\n(") if column.head == "verdict" else text


def _style(column: Column, r: Row) -> str:
    return status_style(r.verdict) if column.head == "verdict" else ""


def _fitting(rows: Sequence[Row], width: int) -> list[Column]:
    """All columns if they fit, else without those of the highest priority number, and so on."""
    longest_entry = 28  # the first column may fold; it needs this much to stay readable
    for limit in (4, 3, 2, 1, 0):
        chosen = [c for c in shown_columns(rows) if c.priority <= limit]
        if longest_entry + sum(_widths(chosen[1:], rows)) + 2 * len(chosen) <= width:
            return chosen
    return [c for c in COLUMNS if c.priority == 0]


def _widths(columns: Sequence[Column], rows: Sequence[Row]) -> list[int]:
    def longest(column: Column, r: Row) -> int:
        return max(len(line) for line in _cell(column, r).split("\n"))

    return [max([len(c.head), *(longest(c, r) for r in rows)]) for c in columns]


def render(rows: Sequence[Row], style: str) -> str:
    """The leaderboard as markdown, csv or json text; csv and json carry unrounded numbers."""
    return {"markdown": _markdown, "csv": _csv, "json": _json}[style](rows)


def _markdown(rows: Sequence[Row]) -> str:
    marks = _marks(rows)
    columns = shown_columns(rows)
    lines = [[c.head for c in columns], ["---:" if c.right else "---" for c in columns]]
    for r in rows:
        mark = f" {marks[r.note]}" if r.note else ""
        lines.append([r.entry + mark, *(c.text(r) for c in columns[1:])])
    table = ["| " + " | ".join(cells) + " |" for cells in lines]
    notes = [f"{mark} {note}" for note, mark in marks.items()]
    return "\n".join([*table, "", legend(rows), *(f"\n{note}" for note in notes)])


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(Row.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(r) for r in rows)
    return out.getvalue().rstrip("\n")


def _json(rows: Sequence[Row]) -> str:
    return json.dumps([asdict(r) for r in rows], indent=1, ensure_ascii=False)


def verdict_blocks(results: Sequence[Result]) -> Group:
    """What `bench reproduce` prints: per entry its verdict, then every judged metric."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    blocks: list[Text | Table] = []
    for result in results:
        blocks.append(_headline(result))
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for head, right in (("", False), ("published", True), ("measured", True), ("Δ", True)):
            table.add_column(head, justify="right" if right else "left", no_wrap=True)
        table.add_column("verdict", overflow="fold")
        for name, comparison in result.metrics.items():
            measured_only = name in result.cost.extra and name.endswith("_pct")
            if name != "top1_pct" and comparison.published is None and not measured_only:
                continue
            table.add_row(
                f"  {name}",
                comparison.published or MISSING,
                _measured(comparison),
                _signed(comparison.delta),
                Text.assemble((comparison.status, "bold"), f": {comparison.reason}"),
            )
        if result.latency is not None:
            told = latency_told(result.latency)
            table.add_row("  ms per image", MISSING, f"{told.best_ms:.2f}", MISSING, told.sentence)
        blocks.append(table)
    return Group(*blocks)


def _headline(result: Result) -> Text:
    from rich.text import Text

    style = f"bold {status_style(result.verdict.status)}".strip()
    facts = [f"n={result.data.n:,} images", f"{result.protocol.name} v{result.protocol.version}"]
    facts += [f"{len(result.runs)} seeds"] if len(result.runs) > 1 else []
    facts += [note for note in (_note(result),) if note]
    return Text.assemble(
        (result.entry, "bold"),
        "  ",
        (result.verdict.status, style),
        (f"  {', '.join(facts)}", "dim"),
    )


def _measured(comparison: Comparison) -> str:
    """As many decimals as printed, at least two."""
    if comparison.measured is None:
        return MISSING
    printed = comparison.published or "0.00"
    fine = printed if "e" in printed or len(printed.partition(".")[2]) > 2 else "0.00"
    return as_printed(fine, comparison.measured)


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _signed(value: float | None) -> str:
    if value is None:
        return MISSING
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text  # never "-0.00"


def _times(r: Row) -> str:
    if r.dense_ms_p50 is None or r.fastest_ms_p50 is None:
        return MISSING
    return f"{r.dense_ms_p50:.2f} → {r.fastest_ms_p50:.2f}"


def _mean(r: Row) -> str:
    if r.retrained_top1_pct is None:
        return MISSING
    spread = "" if r.retrained_std_pp is None else f" ± {r.retrained_std_pp:.2f}"
    return f"{r.retrained_top1_pct:.2f}{spread}"
