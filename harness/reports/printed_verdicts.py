"""What `bench reproduce` prints about each result: a headline, then every judged metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.reports.latency_sentence import latency_sentence_of
from harness.reports.table.cells import MISSING, status_style, status_words
from harness.reports.table.columns import chosen_columns, signed
from harness.reports.table.rows import note, row
from harness.results import Comparison, Result, as_printed, sample_std

if TYPE_CHECKING:
    from rich.console import Group
    from rich.segment import Segments
    from rich.table import Table
    from rich.text import Text


def verdict_blocks(results: Sequence[Result]) -> Group:
    """Per result its verdict, then every metric that was published or is worth knowing."""
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
            measured_only |= name == "sparsity_pct" and result.paper is None
            if name != "top1_pct" and comparison.published is None and not measured_only:
                continue
            table.add_row(
                f"  {name}",
                comparison.published or MISSING,
                measured_text(comparison) + _spread(result, name),
                signed(comparison.delta),
                _said(result, comparison),
            )
        if result.paper is None:
            macs = f"{result.cost.macs_effective / 1e6:.2f}"
            dense = f"of {result.cost.macs_dense / 1e6:.2f} dense, by density"
            table.add_row("  MACs (millions)", MISSING, macs, MISSING, dense)
        if result.latency is not None:
            latency = latency_sentence_of(result.latency)
            table.add_row(
                "  ms per image", MISSING, f"{latency.best_ms:.2f}", MISSING, latency.sentence
            )
        blocks.append(table)
        if note(result):
            blocks.append(Text(f"  {note(result)}", "dim"))
    return Group(*blocks)


def verdict_lines(results: Sequence[Result], width: int) -> Segments:
    """Many results as the leaderboard shows them, in the order given."""
    from harness.reports.table.terminal import leaderboard_screen

    rows = [row(result) for result in results]
    measured = "evaluated" if any(r.mode == "evaluated" for r in rows) else "retrained"
    return leaderboard_screen(
        rows, width, chosen_columns(("published", measured, "delta", "verdict", "sparsity"))
    )


def _headline(result: Result) -> Text:
    from rich.text import Text

    style = f"bold {status_style(result.verdict.status)}".strip()
    seen = f"n={result.n_images:,} images" if result.counts else "weights alone, no images"
    facts = [seen, f"{result.protocol.name} v{result.protocol.version}"]
    facts += [f"mean ± std of {len(result.runs)} seeds"] if len(result.runs) > 1 else []
    return Text.assemble(
        (result.entry, "bold"),
        "  ",
        (status_words(result.verdict.status, result.paper), style),
        (f"  {', '.join(facts)}", "dim"),
    )


def _said(result: Result, comparison: Comparison) -> Text:
    """The verdict of a metric; one of the user's own run is only called that."""
    from rich.text import Text

    status = status_words(comparison.status, result.paper)
    if status == comparison.reason:
        return Text(status, "bold")
    return Text.assemble((status, "bold"), f": {comparison.reason}")


def _spread(result: Result, name: str) -> str:
    """The standard deviation of `name` over the seeds (ddof 1), to follow the mean; "" of one."""
    if name == "top1_pct":
        values = [run.counts.top1_pct for run in result.runs]
    else:
        values = [run.figures[name] for run in result.runs if name in run.figures]
    std = sample_std(values)
    return "" if std is None else f" ± {std:.2f}"


def measured_text(comparison: Comparison) -> str:
    """As many decimals as printed, at least two."""
    if comparison.measured is None:
        return MISSING
    printed = comparison.published or "0.00"
    fine = printed if "e" in printed or len(printed.partition(".")[2]) > 2 else "0.00"
    return as_printed(fine, comparison.measured)
