"""bench report"""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands import shared_options as options
from harness.commands.output import print_json
from harness.commands.visible_text import say_line


@click.command("report", epilog="Example:  bench report --out site")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("site"),
    show_default=True,
    help="Folder of the site; replaced as a whole if an earlier report wrote it.",
)
@click.option(
    "--repository",
    metavar="URL",
    help="Where numbers are disputed, such as https://HOST/OWNER/NAME (default: where the clone or "
    "the build that runs comes from).",
)
@options.extra_registries
@options.as_json
def command(out: Path, repository: str | None, registries: tuple[Path, ...], as_json: bool) -> None:
    """Write the leaderboards as a static web site.

    One folder that opens from a disk or any web server and loads nothing from elsewhere: boards per
    data set with chart, filters and sorting, and as CSV; a page per entry, paper and method. Of
    one's own runs the newest 200 have a page each, the others share one. From stored results and
    link checks only.
    """
    from harness.reports import build_site, known_repository

    registry = options.load_registry(registries)
    built = build_site(registry, out.resolve(), repository or known_repository())
    counts = built.claims.counts()
    if as_json:
        print_json({"folder": str(out), "pages": built.pages, "counts": counts})
        return
    counted = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    say_line(f"{out}: {built.pages} pages; {counted}. Open {out / 'index.html'}")
