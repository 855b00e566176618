"""Tables inside pages: what stands around them stays, a page without a place is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.pages import put_between


def test_only_what_stands_between_the_marks_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("head\n<!-- a:begin -->\nold\n<!-- a:end -->\ntail\n")
    put_between(page, "a", "new\nrows")
    assert page.read_text() == "head\n<!-- a:begin -->\nnew\nrows\n<!-- a:end -->\ntail\n"


@pytest.mark.parametrize("text", ["nothing", "<!-- a:begin -->", "<!-- a:end --><!-- a:begin -->"])
def test_a_page_without_a_place_stays_as_it_is(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(SystemExit, match="no place for the table"):
        put_between(page, "a", "new")
    assert page.read_text() == text
