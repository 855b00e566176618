"""All pages of the site from the registry, the stored results and the link checks."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.checkpoints import in_browser
from harness.errors import RegistryError
from harness.registry import Registry
from harness.reports.claims import DISPUTED, Claims, count_claims
from harness.reports.errata import DISPUTE, INTRODUCTION, by_section, find_errata
from harness.reports.papers.derived_figures import all_derived
from harness.reports.papers.paper_tables import heading, here_text, printed_text
from harness.reports.papers.published_figures import published_figures
from harness.reports.plots.axes import AXES
from harness.reports.plots.styles import styles
from harness.reports.site import pages, vega
from harness.reports.site.board_data import board_script
from harness.reports.site.dispute import dispute_address
from harness.reports.site.layer_bars import HEIGHT, WIDTH
from harness.reports.site.lines import COLUMNS, Board, boards
from harness.reports.site.publish import replacing
from harness.reports.site.thumbnails import thumbnail
from harness.reports.site.words import figure_tone, figures_in_words
from harness.reports.table.columns import BY_KEY, ENTRY, PRESETS
from harness.reports.table.formats import render_leaderboard
from harness.reports.table.leaderboard import leaderboard
from harness.reports.table.row_cache import stored_rows
from harness.reports.table.rows import Row
from harness.results import (
    FigureStatus,
    Link,
    Result,
    file_of,
    load,
    load_entry,
    load_links,
    newest,
)

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
ASSETS = ("style.css", "theme.js", "sort.js", "board.js", "chart.js", "run.js", "vega-licences.txt")
OWN_PAGES = 200  # own runs with a page each, newest first; the others share one
IN_CSV = ("method", "model", *PRESETS["claims"], *PRESETS["cost"])


@dataclass(frozen=True, slots=True)
class Built:
    """What was written."""

    folder: Path
    pages: int
    claims: Claims


@dataclass(frozen=True, slots=True)
class _Material:
    """Everything the pages are made of."""

    registry: Registry
    history: Mapping[str, Sequence[Result]]  # entry -> results without layers, oldest first
    paged: Sequence[str]  # entries and runs with a page of their own
    every: Sequence[Row]  # of all results
    rows: Mapping[str, Sequence[Row]]  # entry -> newest rows, evaluated first
    shown: Sequence[Row]  # all of these
    links: Mapping[str, Link]
    claims: Claims
    figures: Mapping[str, Sequence[FigureStatus]]  # entry -> its printed figures


def build_site(registry: Registry, out: Path, repository: str | None = None) -> Built:
    """Write the site into `out`, whole or not at all.

    repository: address of the project's pages, where numbers are disputed; None: there is none.
    Raises ProtocolError if `out` holds anything that this program did not write.
    """
    material = _gather(registry)
    with replacing(out) as part:
        site = _Site(_environment(), part, material, repository)
        site.assets()
        site.front()
        for id in material.paged:
            site.entry(id)
        for page in site.papers.values():
            site.listing("paper", page)
        for page in site.methods.values():
            site.listing("method", page)
    return Built(out, site.written, material.claims)


def _gather(registry: Registry) -> _Material:
    every = [
        row if row.paper is None else replace(row, entry=registry.aliases.get(row.entry, row.entry))
        for row in stored_rows()
    ]
    shown = leaderboard(every, registry)
    rows: dict[str, list[Row]] = {}
    for line in sorted(shown, key=lambda r: (bool(r.smoke), r.mode != "evaluated")):
        rows.setdefault(line.entry, []).append(line)
    own = [(found[0].result_id, id) for id, found in rows.items() if id not in registry.entries]
    newest_own = [id for _, id in sorted(own)[-OWN_PAGES:]]
    paged = list(dict.fromkeys([*registry.entries, *reversed(newest_own)]))
    history: dict[str, list[Result]] = {}
    for id in paged:
        if id in rows:
            stored = load_entry(id, registry.aliases, layers=False)
            # Figures of the weights alone have no line on a board.
            history[id] = [result for result in stored if result.counts is not None]
    results = [result for found in history.values() for result in found]
    links = load_links()
    claims = count_claims(registry, results, links)
    figures = published_figures(registry, None, results, links)
    return _Material(registry, history, paged, every, rows, shown, links, claims, figures)


def _environment() -> Environment:
    """Templates that escape whatever they are given: registry and results are foreign text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["file"] = lambda name: quote(pages.file_name(name))
    environment.filters["tone"] = figure_tone
    environment.filters["heading"] = heading
    environment.filters["figures"] = figures_in_words
    environment.filters["printed"] = printed_text
    environment.filters["here"] = here_text
    environment.filters["thumbnail"] = thumbnail
    environment.filters["in_browser"] = _in_browser
    environment.tests["web"] = lambda text: str(text).startswith(("https://", "http://"))
    return environment


def _in_browser(text: str) -> str:
    """What a browser opens for the address; what is none stays as it is."""
    try:
        return in_browser(text)
    except RegistryError:
        return text


def _page_of(paged: frozenset[str], board: str, id: str) -> str:
    """Where the front page finds an entry or run."""
    if id in paged:
        return f"entries/{quote(pages.file_name(id))}.html"
    return f"run.html#board={quote(board, safe='')}&entry={quote(id, safe='')}"


class _Site:
    """Writes pages into one folder and counts them."""

    def __init__(
        self,
        environment: Environment,
        folder: Path,
        material: _Material,
        repository: str | None,
    ) -> None:
        self.environment = environment
        self.folder = folder
        self.material = material
        self.repository = repository
        self.written = 0
        self.boards: list[Board] = boards(material.registry, material.every)
        m = material
        self.papers = {
            key: pages.paper_page(key, m.registry, m.shown, m.claims, m.links, m.figures)
            for key in m.registry.papers
        }
        registered = (entry.method for entry in m.registry.entries.values())
        names = dict.fromkeys([*registered, *(row.method for row in m.shown)])
        self.methods = {
            name: pages.method_page(name, m.registry, m.shown, m.claims) for name in names
        }

    def assets(self) -> None:
        """Style, scripts and the chart library, each once."""
        place = self.folder / "assets"
        place.mkdir()
        for name in ASSETS:
            shutil.copyfile(TEMPLATES / name, place / name)
        (place / "vega.js").write_text(vega.bundle(), encoding="utf-8")
        # Without it GitHub Pages runs the site through Jekyll.
        (self.folder / ".nojekyll").touch()

    def front(self) -> None:
        """The leaderboards with their data, and the lists of papers and methods."""
        material, registry = self.material, self.material.registry
        timed = newest()
        paged = frozenset(material.paged)
        (self.folder / "data").mkdir()
        first_axis = {}
        for board in self.boards:
            script, first_axis[board.key] = board_script(
                board.key, board.rows, board.lines, timed, partial(_page_of, paged, board.key)
            )
            place = self.folder / "data" / pages.file_name(board.key)
            place.with_name(f"{place.name}.js").write_text(script, encoding="utf-8")
            table = render_leaderboard(
                board.rows, "csv", [ENTRY, *(BY_KEY[name] for name in IN_CSV)]
            )
            place.with_name(f"{place.name}.csv").write_text(table + "\n", encoding="utf-8")
        looks = styles(self.methods)
        self._page(
            "index.html",
            boards=self.boards,
            first_axis=first_axis,
            papers=registry.papers,
            most=pages.ROWS_IN_MARKUP,
            looks={name: [s.colour, s.on_dark, s.shape] for name, s in looks.items()},
            axes_json=[
                {"key": a.key, "title": a.title, "rising": a.rising, "at_most": a.at_most}
                for a in AXES.values()
            ],
        )
        if len(paged) < len(material.rows.keys() | registry.entries.keys()):
            self._page("run.html")
        for kind, listed in (("paper", self.papers), ("method", self.methods)):
            self._page(f"{kind}s.html", "listing.html", kind=kind, listed=listed.values())
        items = find_errata(registry, material.claims, all_derived(registry))
        self._page(
            "errata.html", sections=by_section(items), introduction=INTRODUCTION, dispute=DISPUTE
        )

    def entry(self, id: str) -> None:
        """The page of one entry, and the records it links to."""
        material = self.material
        stored = {result.result_id: result.entry for result in material.history.get(id, ())}
        wanted = [row.result_id for row in material.rows.get(id, ())]
        files = [file_of(stored[result_id], result_id) for result_id in wanted]
        newest = [load(file) for file in files]
        page = pages.entry_page(
            id,
            material.registry,
            material.rows,
            material.history.get(id, ()),
            newest,
            material.links,
        )
        for file in files:
            target = self.folder / "results" / pages.file_name(id) / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        self._page(
            f"entries/{pages.file_name(id)}.html",
            "entry.html",
            page=page,
            dispute=dispute_address(self.repository, page),
            plot_width=WIDTH,
            plot_height=HEIGHT,
        )

    def listing(self, kind: str, page: pages.ListPage) -> None:
        """The page of one paper or method."""
        self._page(
            f"{kind}s/{pages.file_name(page.key)}.html",
            "one_list.html",
            kind=kind,
            page=page,
            most=pages.ROWS_IN_MARKUP,
        )

    def _page(self, name: str, template: str | None = None, **context: object) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = self.environment.get_template(template or name).render(
            root="../" * name.count("/"),
            name=name,
            claims=self.material.claims,
            columns=COLUMNS,
            axes=AXES.values(),
            disputed=DISPUTED,
            **context,
        )
        target.write_text(text, encoding="utf-8")
        self.written += 1
