"""What the boards cost at 100, 1,000 and 10,000 results: building, bytes, opening, sorting.

Results are made up as by `benchmarks.table`, each of a run of its own, on top of those on record,
in a temporary home. The site is built twice, the second time with the rows and the chart library
in the cache; then Chromium, where there is one, opens its largest board from the disk and sorts it.
Commands run inside this process, and their seconds are those of the processor, which other work on
the machine does not change; those of the browser are seconds of the clock, the least of three.

    python -m benchmarks.boards_at_scale [--results 100,1000,10000] [--small]
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from benchmarks import home, parsed
from benchmarks.table import fill, timed
from cli import main as bench
from harness import paths

if TYPE_CHECKING:
    from playwright.sync_api import Page

BOARD = "cifar10"
REPEATS = 3
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HEADS = ("results", "first build s", "build s", "MB", "table s", "opens s", "sorts s", "chart s")
SORT = """() => {
  const head = [...document.querySelectorAll('#%s thead button')]
    .find(one => one.textContent.trim() === 'evaluated');
  const begin = performance.now();
  head.click();
  document.body.getBoundingClientRect();
  return performance.now() - begin;
}"""


def built(site: Path) -> float:
    """CPU seconds that `bench report` takes. Raises if it fails."""
    begin = time.process_time()
    done = CliRunner().invoke(bench, ["report", "--out", str(site)])
    if done.exit_code:
        raise RuntimeError(done.output)
    return time.process_time() - begin


def size_mb(site: Path) -> float:
    """Megabytes of all files of the site."""
    return sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) / 1e6


def in_browser(site: Path) -> tuple[float, float, float] | None:
    """Seconds until the board can be used, is sorted after a click, and has its chart.

    None where there is no browser.
    """
    if CHROMIUM is None or find_spec("playwright") is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        runs = []
        for _ in range(REPEATS):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(300_000)
            runs.append(_visit(page, f"{site.as_uri()}/index.html#{BOARD}"))
            page.close()
        browser.close()
    opens, sorts, charts = (min(times) for times in zip(*runs, strict=True))
    return opens, sorts, charts


def _visit(page: Page, address: str) -> tuple[float, float, float]:
    begin = time.perf_counter()
    page.goto(address, wait_until="commit")
    # The count of rows is what scripts write last.
    page.wait_for_function(f"document.querySelector('#{BOARD} .count')?.textContent")
    opened = time.perf_counter() - begin
    page.wait_for_selector(f"#{BOARD}[data-drawn]")
    drawn = time.perf_counter() - begin
    sorts: Any = page.evaluate(SORT % BOARD)
    return opened, sorts / 1000, drawn


def measure(count: int, look: bool) -> str:
    """One line of the table."""
    with home(temporary=True), tempfile.TemporaryDirectory() as folder:
        fill(paths.results_folder(), range(count))
        site = Path(folder).resolve() / "site"
        first, again = built(site), built(site)
        tables = statistics.median(timed()[1] for _ in range(REPEATS))
        cells = [f"{count:,}", f"{first:.1f}", f"{again:.1f}", f"{size_mb(site):.1f}"]
        seen = in_browser(site) if look else None
        browser = ["–"] * 3 if seen is None else [f"{seconds:.2f}" for seconds in seen]
        return " | ".join(["", *cells, f"{tables:.2f}", *browser, ""]).strip()


def main() -> None:
    """Print a table, a line per number of results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", default="100,1000,10000")
    parser.add_argument("--look", action=argparse.BooleanOptionalAction, default=True)
    options = parsed(parser, results="5", look=False)
    print(f"| {' | '.join(HEADS)} |\n|{' ---: |' * len(HEADS)}")
    for count in map(int, options.results.split(",")):
        print(measure(count, options.look), flush=True)


if __name__ == "__main__":
    main()
