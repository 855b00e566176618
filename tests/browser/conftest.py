"""A real Chromium on a real site. Skips with the reason where either is missing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import registry, results
from harness.checkpoints import addresses
from harness.reports.site import build_site
from harness.results import link_answers
from harness.results.link_answers import Link
from tests.support.results import a_cost, made, trained

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
FLAGS = (  # no sandbox inside containers; nothing that talks to the net by itself
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BASELINE = "dense-resnet20-cifar10-keras"
PRUNED = "l1norm-resnet20-cifar10-50-keras"
PHONE = 390  # pixels
QUICK = {  # the default run; every window takes seconds, and the others are slow
    "test_the_front_page_shows_claims_board_and_chart",
    "test_filters_narrow_table_chart_and_count",
    "test_an_entry_opens_with_its_whole_story",
}
ODD = "acdc-resnet50-90"  # far below every other number of its board
RETRAINED = "local-gmp-resnet20-cifar10-0.9"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker(pytest.mark.browser)
        if item.name.partition("[")[0] not in QUICK:
            item.add_marker(pytest.mark.slow)
        if not CHROMIUM:
            item.add_marker(pytest.mark.skip(reason="needs Chromium: none is on the path"))
        elif find_spec("playwright") is None:
            item.add_marker(
                pytest.mark.skip(reason="needs playwright: pip install -e '.[browser]'")
            )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The site of the whole registry and five results on CIFAR-10, chart library included."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv("BENCH_HOME", str(home))
        for result in (
            made(
                BASELINE, method="dense", measured=91.67, published="91.67", model="resnet20_keras"
            ),
            made(
                PRUNED,
                method="l1norm",
                measured=75.60,
                published="75.56",
                status="mismatch",
                model="resnet20_keras",
                cost=a_cost(100, 60_000),
            ),
            made(
                "dense-resnet20-cifar10", method="dense", measured=91.73, cost=a_cost(592, 442_528)
            ),
            made(
                "dense-resnet56-cifar10",
                method="dense",
                published="93.39",
                measured=93.39,
                model="resnet56",
                cost=a_cost(592, 1_254_900),
            ),
            trained(entry=RETRAINED, cost=a_cost(60, 40_000), notes=("trained 4ep",)),
            made(ODD, dataset="imagenet", measured=1.0, cost=a_cost(70, 50_000)),
        ):
            results.save(result)
        known = registry.load()
        alive, dead, *_ = (a for a, kind in addresses(known).items() if kind == "file")
        link_answers.save_links(
            {
                alive: Link("2026-11-20T10:00:00Z", True, 200, "a file"),
                dead: Link("2026-11-20T10:00:00Z", False, 404, "gone: Not Found"),
            }
        )
        yield build_site(known, home / "pages" / "site").folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield running
        running.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Requests leave no trace on the screen."""


@pytest.fixture(scope="session")
def served(site: Path) -> Iterator[str]:
    """The same site below a folder of a web server, as on project pages."""
    handler = partial(_Quiet, directory=str(site.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/site/"
        server.shutdown()
        thread.join()


@dataclass
class Visit:
    """One window, and everything it did that it should not."""

    page: Page
    root: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str = "index.html") -> Page:
        self.page.goto(self.root + path)
        if path.startswith("index.html"):
            self.page.wait_for_selector("section.board[data-ready]")
        return self.page

    def drawn(self, board: str = "cifar10") -> Page:
        """Wait until the chart of a board is there."""
        self.page.wait_for_selector(f"#{board}[data-ready][data-drawn] .chart svg [role=link]")
        return self.page


def visit(browser: Browser, root: str, **options: Any) -> Iterator[Visit]:
    """A fresh window; fails afterwards on console messages, errors, and requests that leave."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    context.set_default_timeout(10_000)
    page = context.new_page()
    found = Visit(page, root)

    def guard(route: Any) -> None:
        address = route.request.url
        if address.startswith((root.rpartition("site/")[0], "data:", "blob:")):
            route.continue_()
        else:
            found.complaints.append(f"request to {address}")
            route.abort()

    page.route("**/*", guard)
    page.on("console", lambda message: found.complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.complaints.append(f"error: {error}"))
    page.on("requestfailed", lambda request: found.complaints.append(f"failed: {request.url}"))
    yield found
    context.close()
    assert found.complaints == []


@pytest.fixture
def disk(browser: Browser, site: Path) -> Iterator[Visit]:
    """Opened as files."""
    yield from visit(browser, f"{site.as_uri()}/")


@pytest.fixture
def web(browser: Browser, served: str) -> Iterator[Visit]:
    """Served below a folder."""
    yield from visit(browser, served)


@pytest.fixture
def phone(browser: Browser, site: Path) -> Iterator[Visit]:
    """A small touch screen that prefers the dark theme."""
    options = {"color_scheme": "dark", "has_touch": True, "is_mobile": True}
    for found in visit(browser, f"{site.as_uri()}/", **options):
        found.page.set_viewport_size({"width": PHONE, "height": 844})
        yield found
