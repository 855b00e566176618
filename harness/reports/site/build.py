"""All pages of the site from the registry, the stored results and the link checks."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from harness.registry import Registry
from harness.reports.claims import DISPUTED, Claims, count_claims
from harness.reports.errata import DISPUTE, INTRODUCTION, by_section, find_errata
from harness.reports.papers.derived_figures import all_derived
from harness.reports.papers.paper_tables import heading, here_text, printed_text
from harness.reports.papers.published_figures import published_figures
from harness.reports.site import pages, vega
from harness.reports.site.chart_points import AXES, chart_points, first_axis
from harness.reports.site.layer_bars import HEIGHT, WIDTH
from harness.reports.site.lines import COLUMNS, Board, boards
from harness.reports.site.publish import replacing
from harness.reports.site.words import figure_tone
from harness.reports.table.leaderboard import leaderboard
from harness.reports.table.rows import Row, row
from harness.results import FigureStatus, Link, Result, file_of, load, load_all, load_links, newest

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
ASSETS = ("style.css", "theme.js", "board.js", "chart.js", "vega-licences.txt")


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
    files: Mapping[tuple[str, str], Path]  # (entry, result id) -> its record
    every: Sequence[Row]  # of all results
    rows: Mapping[str, Sequence[Row]]  # entry -> newest rows, evaluated first
    shown: Sequence[Row]  # all of these
    links: Mapping[str, Link]
    claims: Claims
    figures: Mapping[str, Sequence[FigureStatus]]  # entry -> its printed figures


def build_site(registry: Registry, out: Path) -> Built:
    """Write the site into `out`, whole or not at all.

    Raises ProtocolError if `out` holds anything that this program did not write.
    """
    material = _gather(registry)
    with replacing(out) as part:
        site = _Site(_environment(), part, material)
        site.assets()
        site.front()
        for id in dict.fromkeys([*registry.entries, *material.history]):
            site.entry(id)
        for key in registry.papers:
            site.listing("paper", site.paper(key))
        for name in site.methods():
            page = pages.method_page(name, registry, material.shown, material.claims)
            site.listing("method", page)
    return Built(out, site.written, material.claims)


def _gather(registry: Registry) -> _Material:
    history: dict[str, list[Result]] = {}
    files: dict[tuple[str, str], Path] = {}
    for result in load_all(layers=False):
        if result.counts is None:  # figures of the weights alone have no line on a board
            continue
        id = registry.aliases.get(result.entry, result.entry)
        history.setdefault(id, []).append(result)
        files[id, result.result_id] = file_of(result.entry, result.result_id)
    every = [replace(row(r), entry=id) for id, found in history.items() for r in found]
    links = load_links()
    shown = leaderboard(every, registry)
    rows: dict[str, list[Row]] = {}
    for line in sorted(shown, key=lambda r: (bool(r.smoke), r.mode != "evaluated")):
        rows.setdefault(line.entry, []).append(line)
    results = [result for found in history.values() for result in found]
    claims = count_claims(registry, results, links)
    figures = published_figures(registry, None, results, links)
    return _Material(registry, history, files, every, rows, shown, links, claims, figures)


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
    environment.filters["printed"] = printed_text
    environment.filters["here"] = here_text
    environment.tests["web"] = lambda text: str(text).startswith(("https://", "http://"))
    return environment


class _Site:
    """Writes pages into one folder and counts them."""

    def __init__(self, environment: Environment, folder: Path, material: _Material) -> None:
        self.environment = environment
        self.folder = folder
        self.material = material
        self.written = 0
        self.boards: list[Board] = boards(material.registry, material.every)

    def methods(self) -> list[str]:
        """Every method of an entry or a result, those of the registry first."""
        registered = (entry.method for entry in self.material.registry.entries.values())
        return list(dict.fromkeys([*registered, *(r.method for r in self.material.shown)]))

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
        """The leaderboards, and the lists of papers and methods."""
        material, registry = self.material, self.material.registry
        entries = registry.entries
        timed = newest()
        charts = {
            board.key: chart_points(
                board.rows, [entries[line.entry] for line in board.unmeasured], timed
            )
            for board in self.boards
        }
        for point in (point for chart in charts.values() for point in chart):
            point["page"] = f"{quote(pages.file_name(point['id']))}.html"
        self._page(
            "index.html",
            boards=self.boards,
            charts=charts,
            first_axis={key: first_axis(chart) for key, chart in charts.items()},
            methods=self.methods(),
            axes_json=[asdict(axis) for axis in AXES],
        )
        papers = [self.paper(key) for key in registry.papers]
        methods = [
            pages.method_page(name, registry, material.shown, material.claims)
            for name in self.methods()
        ]
        self._page("papers.html", "listing.html", kind="paper", listed=papers)
        self._page("methods.html", "listing.html", kind="method", listed=methods)
        items = find_errata(registry, material.claims, all_derived(registry))
        self._page(
            "errata.html", sections=by_section(items), introduction=INTRODUCTION, dispute=DISPUTE
        )

    def entry(self, id: str) -> None:
        """The page of one entry, and the records it links to."""
        material = self.material
        files = [material.files[id, row.result_id] for row in material.rows.get(id, ())]
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
            plot_width=WIDTH,
            plot_height=HEIGHT,
        )

    def paper(self, key: str) -> pages.ListPage:
        """What the page of one paper is given."""
        m = self.material
        return pages.paper_page(key, m.registry, m.shown, m.claims, m.links, m.figures)

    def listing(self, kind: str, page: pages.ListPage) -> None:
        """The page of one paper or method."""
        self._page(
            f"{kind}s/{pages.file_name(page.key)}.html", "one_list.html", kind=kind, page=page
        )

    def _page(self, name: str, template: str | None = None, **context: object) -> None:
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        text = self.environment.get_template(template or name).render(
            root="../" * name.count("/"),
            name=name,
            claims=self.material.claims,
            columns=COLUMNS,
            axes=AXES,
            disputed=DISPUTED,
            **context,
        )
        target.write_text(text, encoding="utf-8")
        self.written += 1
