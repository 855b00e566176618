"""A paper's own tables: one per place where it prints numbers, in its order of rows and figures.

A figure of one layer ("density_pct.fc1") stands in a table of its network's layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.registry import Entry, Published, Registry
from harness.reports.printed_verdicts import measured_text
from harness.reports.table.cells import MISSING
from harness.results import OUTCOMES, FigureStatus

_UNITS = {"pct": "%", "pp": "pp", "millions": "(M)", "thousands": "(k)", "kb": "(KB)"}
_WORDS = {
    "top1": "top-1",
    "top3": "top-3",
    "top5": "top-5",
    "flops": "FLOPs",
    "params": "params",
    "kept": "R, kept",
}
_SETTLED_BY = {"evaluated": "e", "counted": "c", "retrained": "r", "derived": "d"}
LEGEND = (
    "Below or beside each printed figure: what was found, and (e) evaluated from the published "
    "file, (c) counted in it, (r) retrained here, (d) derived without weights; else what the "
    "figure waits for. ? = doubtful in its source."
)


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One line: an entry, or a layer of one."""

    label: str
    entry: str
    cells: Mapping[str, FigureStatus]  # metric -> figure; the paper prints no others in this line

    @property
    def waiting(self) -> str:
        """What all figures of the line wait for, or "" if any of them is settled."""
        words = {here_text(figure) for figure in self.cells.values()}
        unsettled = all(figure.basis is None for figure in self.cells.values())
        return words.pop() if len(words) == 1 and unsettled else ""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """One table of a paper."""

    paper: str
    paper_title: str
    title: str  # where the paper prints it
    metrics: tuple[str, ...]
    rows: tuple[PaperRow, ...]

    @property
    def figures(self) -> list[FigureStatus]:
        """Every printed figure, line by line."""
        return [figure for row in self.rows for figure in row.cells.values()]

    @property
    def summary(self) -> str:
        """One line: how many figures, and what became of them."""
        return summary_of(self.figures)


def paper_tables(
    paper: str, registry: Registry, figures: Mapping[str, Sequence[FigureStatus]]
) -> list[PaperTable]:
    """The tables of one paper. figures: of its entries, as `published_figures` gives them."""
    lines: dict[str, dict[tuple[str, str], dict[str, FigureStatus]]] = {}
    for entry in registry.select(paper=paper):
        for figure in figures[entry.id]:
            metric, _, layer = figure.figure.partition(".")
            title = _title(figure.published, entry, layer)
            table = lines.setdefault(title, {})
            table.setdefault((entry.id, layer), {})[metric] = figure
    its = registry.papers[paper]
    name = f"{its.title} ({its.venue})"
    return [_table(paper, name, title, table) for title, table in lines.items()]


def _title(published: Published, entry: Entry, layer: str) -> str:
    return f"{published.source}: layers of {entry.id}" if layer else published.source


def _table(
    paper: str,
    name: str,
    title: str,
    lines: Mapping[tuple[str, str], Mapping[str, FigureStatus]],
) -> PaperTable:
    metrics = dict.fromkeys(metric for cells in lines.values() for metric in cells)
    rows = (PaperRow(layer or entry, entry, cells) for (entry, layer), cells in lines.items())
    return PaperTable(paper, name, title, tuple(metrics), tuple(rows))


def heading(metric: str) -> str:
    """A metric as a table is headed, with its unit: "top1_pct" -> "top-1 %"."""
    words = metric.split("_")
    unit = _UNITS.get(words[-1])
    names = [_WORDS.get(word, word) for word in (words[:-1] if unit else words)]
    return " ".join([*names, *([unit] if unit else [])])


def printed_text(published: Published) -> str:
    """The figure as printed: digits, bound, spread, and a question mark where it is doubtful."""
    bound = {"at least": "≥ ", "at most": "≤ "}.get(published.bound or "", "")
    spread = f" ± {published.std}" if published.std else ""
    return f"{bound}{published.text}{spread}{'?' * published.suspect}"


def found_texts(figure: FigureStatus) -> tuple[str, str]:
    """(what was found or a dash, its verdict in a word or what it waits for)."""
    if figure.waits_for is not None:
        return MISSING, f"waits: {figure.waits_for}"
    if figure.basis is None or figure.comparison is None:
        return MISSING, {"cannot be checked": "cannot check"}.get(figure.outcome, figure.outcome)
    status = figure.comparison.status.removeprefix("published figure ")
    return measured_text(figure.comparison), f"{status} ({_SETTLED_BY[figure.basis]})"


def here_text(figure: FigureStatus) -> str:
    """Both in one: "74.31 exact (e)", "waits: data"."""
    found, word = found_texts(figure)
    return word if found == MISSING else f"{found} {word}"


def row_summary(figures: Iterable[FigureStatus]) -> str:
    """What became of one row's figures, judged ones first: "2 reproduced, 1 waits: data".

    A row with a judged figure is never called one that cannot be checked.
    """
    chosen = sorted(figures, key=lambda figure: figure.basis is None)
    judged = any(figure.basis is not None for figure in chosen)
    words = Counter(_in_a_row(figure, judged) for figure in chosen)
    return ", ".join(f"{count} {word}" for word, count in words.items())


def _in_a_row(figure: FigureStatus, judged: bool) -> str:
    if figure.waits_for:
        return f"waits: {figure.waits_for}"
    if judged and figure.outcome == "cannot be checked":
        return "without file or protocol"
    return figure.outcome


def summary_of(figures: Iterable[FigureStatus]) -> str:
    """How many figures, and what became of them, in one line."""
    chosen = list(figures)
    outcomes = Counter(figure.outcome for figure in chosen)
    needs = Counter(figure.waits_for for figure in chosen if figure.waits_for)
    parts = [f"{outcomes[name]} {name}" for name in OUTCOMES if outcomes[name] and name != "waits"]
    parts += [f"{count} waiting for {_NEEDS[need]}" for need, count in needs.most_common()]
    count = "1 figure" if len(chosen) == 1 else f"{len(chosen)} figures"
    return f"{count}: {', '.join(parts)}"


_NEEDS = {
    "file": "a file",
    "data": "data",
    "measurement": "a measurement",
    "training": "training",
    "gpu": "a GPU",
}


def how_to_check(paper: str, registry: Registry) -> list[str]:
    """What to type to check a paper from nothing; the last command prints its tables."""
    entries = registry.select(paper=paper)
    lines = []
    if any(entry.checkpoint for entry in entries):
        lines.append(f"bench reproduce --suite {paper}  # fetch, verify, evaluate, judge")
    if any(entry.recipe and not entry.checkpoint for entry in entries):
        lines.append(f"bench reproduce --suite {paper} --mode train --seeds 3  # what has no file")
    lines.append("bench registry check --full --record  # what follows without any weights")
    return [*lines, f"bench table --paper {paper}"]
