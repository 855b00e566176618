"""The pictures in reports/screenshots, taken of a site that `bench report` wrote.

    bench report --out site && python -m tests.browser.pictures site

Whoever changes the site takes them again and looks at them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.browser.conftest import CHROMIUM, FLAGS, PHONE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDER = Path(__file__).resolve().parents[2] / "reports" / "screenshots"
ENTRY = "entries/l1norm-resnet20-cifar10-90-keras.html"
POINT = "dense-resnet8-cifar10-mlperf-tiny"
MARGIN = 16  # pixels above what is looked at


@contextmanager
def page_of(
    browser: Browser, width: int, height: int, scheme: Any, **options: Any
) -> Iterator[Page]:
    """A window without animations."""
    size = {"width": width, "height": height}
    context = browser.new_context(
        viewport=size, color_scheme=scheme, reduced_motion="reduce", **options
    )
    yield context.new_page()
    context.close()


def at(selector: str) -> Callable[[Page], None]:
    """Scrolls to an element once the chart, which moves what is below it, is drawn."""

    def scroll(page: Page) -> None:
        page.wait_for_selector("#cifar10[data-drawn] .chart svg")
        top = page.locator(selector).first.evaluate("e => e.getBoundingClientRect().top")
        page.evaluate(f"scrollBy(0, {top} - {MARGIN})")

    return scroll


def hover(page: Page) -> None:
    """Scrolls to the chart and tells of one point."""
    at("#cifar10 figure.plot")(page)
    page.locator(f'#cifar10 .chart svg [aria-label^="{POINT},"]').first.hover()
    page.wait_for_selector("#cifar10 .tip:not([hidden])")


def take(browser: Browser, site: Path) -> None:
    """Write every picture."""
    board, rows = at("#cifar10 h2"), at("#cifar10 table.sortable")
    phone = {"is_mobile": True, "has_touch": True}
    shots: list[tuple[str, int, int, str, Callable[[Page], None] | None, dict[str, Any]]] = [
        ("front-light", 1280, 820, "index.html", None, {}),
        ("board-light", 1280, 1320, "index.html#cifar10", board, {}),
        ("board-dark", 1280, 1320, "index.html#cifar10", board, {}),
        ("table-dark", 1280, 900, "index.html#cifar10", rows, {}),
        ("hover-dark", 1280, 620, "index.html#cifar10", hover, {}),
        ("entry-light", 1280, 1350, ENTRY, None, {}),
        ("entry-dark", 1280, 1350, ENTRY, None, {}),
        ("phone-front-dark", PHONE, 844, "index.html", None, phone),
        ("phone-table-light", PHONE, 844, "index.html#cifar10", rows, phone),
    ]
    for name, width, height, path, then, options in shots:
        with page_of(browser, width, height, name.rpartition("-")[2], **options) as page:
            page.goto(f"{site.resolve().as_uri()}/{path}")
            if then is not None:
                then(page)
            page.screenshot(path=FOLDER / f"{name}.png")


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    site = parser.parse_args().site
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        take(browser, site)
        browser.close()


if __name__ == "__main__":
    main()
