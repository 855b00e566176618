"""What each page is given: plain data, ready to print."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.registry import Entry, Paper, Registry
from harness.reports.claims import Claims, outcome_counts
from harness.reports.papers.paper_tables import PaperTable, how_to_check, paper_tables
from harness.reports.printed_verdicts import measured_text
from harness.reports.site.commands import Command, of_entry, of_result
from harness.reports.site.layer_bars import LayerPlot, layer_plot
from harness.reports.site.lines import Line, measured_line, unmeasured_lines
from harness.reports.site.words import NOT_MEASURED, dataset_title, method_text, tone
from harness.reports.table.cells import MISSING
from harness.reports.table.columns import signed
from harness.reports.table.rows import Row, note
from harness.results import FigureStatus, Link, Result

ROWS_IN_MARKUP = 100  # of a table; scripts page through the others, and the CSV file has all


@dataclass(frozen=True, slots=True)
class ShownFigure:
    """One metric of one result, or a published number that was never measured."""

    metric: str
    published: str
    measured: str
    delta: str
    status: str
    tone: str
    reason: str
    source: str


@dataclass(frozen=True, slots=True)
class ShownSource:
    """Where a file or page lies, and whether it answers."""

    address: str
    state: str
    tone: str
    detail: str


@dataclass(frozen=True, slots=True)
class MeasuredResult:
    """One result in full."""

    result: Result
    tone: str
    note: str
    judged: tuple[ShownFigure, ...]
    plot: LayerPlot | None
    command: Command
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Past:
    """One line of an entry's verdict history."""

    result: Result
    top1: str
    delta: str
    tone: str
    note: str


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Everything about one entry, in the registry or a user's own."""

    id: str
    title: str
    entry: Entry | None
    paper: Paper | None
    row: Row | None  # the newest, for the headline
    verdict: str
    tone: str
    dataset: str
    dataset_title: str
    method: str
    model: str
    method_text: str
    settings: dict[str, object]
    published: tuple[ShownFigure, ...]  # only if nothing was measured
    measurements: tuple[MeasuredResult, ...]
    history: tuple[Past, ...]
    commands: tuple[Command, ...]
    sources: tuple[ShownSource, ...]
    baseline: str | None
    siblings: tuple[str, ...]  # other entries with this baseline, or on it


@dataclass(frozen=True, slots=True)
class ListPage:
    """A paper or a method: what it is, and its lines."""

    key: str
    title: str
    text: str
    paper: Paper | None
    measured: tuple[Line, ...]  # the first ROWS_IN_MARKUP
    total: int  # of measured lines
    unmeasured: tuple[Line, ...]
    counts: dict[str, int]
    sources: tuple[ShownSource, ...] = ()
    tables: tuple[PaperTable, ...] = ()
    commands: tuple[str, ...] = ()


def file_name(name: str) -> str:
    """`name` as a file name without anything a path or an address could trip over."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return safe if safe.strip(".") else f"_{len(safe)}"


def entry_page(
    id: str,
    registry: Registry,
    rows: Mapping[str, Sequence[Row]],
    history: Sequence[Result],
    newest: Sequence[Result],
    links: Mapping[str, Link],
) -> EntryPage:
    """The page of one entry. newest: with layers, at most one per way of measuring, best first."""
    entry = registry.entries.get(id)
    mine = rows.get(id, ())
    row = mine[0] if mine else None
    facts = entry if entry is not None else newest[0]
    paper = registry.papers.get(entry.paper) if entry else None
    verdict = row.verdict if row else NOT_MEASURED
    commands = of_entry(entry) if entry else []
    return EntryPage(
        id=id,
        title=id,
        entry=entry,
        paper=paper,
        row=row,
        verdict=f"{verdict} ({row.about})" if row and row.about else verdict,
        tone=tone(verdict),
        dataset=facts.dataset,
        dataset_title=dataset_title(facts.dataset),
        method=facts.method,
        model=facts.model,
        method_text=method_text(facts.method, registry),
        settings=registry.settings_of(entry) if entry else dict(newest[0].settings),
        published=() if newest or entry is None else _published(entry),
        measurements=tuple(_measurement(result, registry) for result in newest),
        history=tuple(_past(result) for result in reversed(history)),
        commands=tuple(commands),
        sources=_sources(entry, links),
        baseline=entry.baseline if entry else None,
        siblings=_siblings(entry, registry),
    )


def _siblings(entry: Entry | None, registry: Registry) -> tuple[str, ...]:
    if entry is None:
        return ()
    shared = entry.baseline or entry.id
    return tuple(
        other.id
        for other in registry.entries.values()
        if other.id != entry.id and (other.baseline == shared or other.id == entry.baseline)
    )


def _published(entry: Entry) -> tuple[ShownFigure, ...]:
    return tuple(
        ShownFigure(
            metric=name,
            published=value.text + (f" ± {value.std}" if value.std else ""),
            measured=MISSING,
            delta=MISSING,
            status="suspect" if value.suspect else NOT_MEASURED,
            tone="close" if value.suspect else "none",
            reason=value.note,
            source=value.source,
        )
        for name, value in entry.published.items()
    )


def _measurement(result: Result, registry: Registry) -> MeasuredResult:
    judged = tuple(
        ShownFigure(
            metric=name,
            published=comparison.published or MISSING,
            measured=measured_text(comparison),
            delta=signed(comparison.delta),
            status=comparison.status,
            tone=tone(comparison.status),
            reason=comparison.reason,
            source=comparison.source or "",
        )
        for name, comparison in result.metrics.items()
    )
    return MeasuredResult(
        result=result,
        tone=tone(result.verdict.status),
        note=note(result),
        judged=judged,
        plot=layer_plot(result),
        command=of_result(result),
        facts=tuple(_facts(result, registry)),
    )


def _facts(result: Result, registry: Registry) -> list[tuple[str, str]]:
    """What somebody needs to dispute the number."""
    data, code = result.data, result.code
    known = registry.evaluations.get(result.protocol.name)
    newer = f"; now v{known.version}" if known and known.version > result.protocol.version else ""
    found = [
        ("result", result.result_id),
        ("measured", result.created),
        ("evaluation", f"{_protocol(result.protocol)}{newer}"),
        ("recipe", _protocol(result.recipe) if result.recipe else ""),
        ("precision", f"{result.precision}, batches of {result.batch_size}"),
        ("code", f"commit {code.get('commit')}" + (" with changes" if code.get("dirty") else "")),
        ("versions", _pairs(result.versions)),
        ("hardware", _pairs(result.hardware)),
        ("time", f"{result.wall_s:,.1f} s"),
        ("predictions", f"sha256 {result.predictions_sha256}" * bool(result.predictions_sha256)),
    ]
    if data is not None:
        images = f"{result.n_images:,} of {data.n_total:,}, {data.dataset} {data.split}"
        copy = f"{data.copy_name}, fingerprint {data.fingerprint}"
        found[4:4] = [("images", images), ("copy of the data", copy)]
    if result.checkpoint:
        file = result.checkpoint
        found[3:3] = [
            ("file", f"{file.source} ({file.size_bytes:,} bytes, format {file.format})"),
            ("file sha256", file.sha256),
            ("file licence", file.license),
        ]
    return [(name, text) for name, text in found if text]


def _protocol(protocol: object) -> str:
    name, version, digest = (getattr(protocol, key) for key in ("name", "version", "sha256"))
    return f"{name} v{version}, sha256 {digest[:16]}"


def _pairs(mapping: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in mapping.items() if value is not None)


def _past(result: Result) -> Past:
    top1 = result.metrics["top1_pct"]
    return Past(
        result=result,
        top1=measured_text(top1),
        delta=signed(top1.delta),
        tone=tone(result.verdict.status),
        note=note(result),
    )


def _sources(entry: Entry | None, links: Mapping[str, Link]) -> tuple[ShownSource, ...]:
    if entry is None or entry.checkpoint is None:
        return ()
    return tuple(shown_source(address, links) for address in entry.checkpoint.sources)


def shown_source(address: str, links: Mapping[str, Link]) -> ShownSource:
    """An address and what its last check said; files of the project need none."""
    kind = address.partition(":")[0]
    if kind in ("data", "shipped"):
        where = "comes with the project" if kind == "shipped" else "below the data root"
        return ShownSource(address, where, "plain", "")
    answer = links.get(address)
    if answer is None:
        return ShownSource(address, "never probed", "none", "ask: bench registry links")
    state, its_tone = {True: ("alive", "good"), False: ("dead", "bad"), None: ("unclear", "close")}[
        answer.ok
    ]
    status = f"HTTP {answer.status}, " if answer.status else ""
    return ShownSource(address, state, its_tone, f"{status}{answer.detail} ({answer.checked[:10]})")


def paper_page(
    key: str,
    registry: Registry,
    rows: Sequence[Row],
    found: Claims,
    links: Mapping[str, Link],
    figures: Mapping[str, Sequence[FigureStatus]],
) -> ListPage:
    """The page of one paper."""
    paper = registry.papers[key]
    measured, unmeasured = _split(registry.select(paper=key), rows)
    pages = [address for address in (paper.url, paper.code) if address]
    return ListPage(
        key=key,
        title=paper.title,
        text=paper.venue,
        paper=paper,
        measured=_first(measured),
        total=len(measured),
        unmeasured=unmeasured,
        counts=found.counts(key),
        sources=tuple(shown_source(address, links) for address in pages),
        tables=tuple(paper_tables(key, registry, figures)),
        commands=tuple(how_to_check(key, registry)),
    )


def method_page(name: str, registry: Registry, rows: Sequence[Row], found: Claims) -> ListPage:
    """The page of one method: every published row and every run of one's own."""
    entries = registry.select(method=name)
    ids = {entry.id for entry in entries}
    own = [row for row in rows if row.method == name and row.entry not in registry.entries]
    measured, unmeasured = _split(entries, rows)
    printed = [figure for figure in found.figures() if figure.entry in ids]
    return ListPage(
        key=name,
        title=name,
        text=method_text(name, registry),
        paper=None,
        measured=_first([*measured, *own]),
        total=len(measured) + len(own),
        unmeasured=unmeasured,
        counts=outcome_counts(printed),
    )


def _first(rows: Sequence[Row]) -> tuple[Line, ...]:
    """The lines of a page that shows rows on their own, not below those they are compared with."""
    return tuple(measured_line(replace(r, is_baseline=False)) for r in rows[:ROWS_IN_MARKUP])


def _split(entries: Sequence[Entry], rows: Sequence[Row]) -> tuple[list[Row], tuple[Line, ...]]:
    """Rows of the entries that have one, by name, and lines of those that have none."""
    ids = {entry.id for entry in entries}
    shown = sorted((row for row in rows if row.entry in ids), key=lambda row: row.entry)
    there = {row.entry for row in shown}
    return shown, unmeasured_lines(e for e in entries if e.id not in there)
