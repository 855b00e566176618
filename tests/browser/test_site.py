"""The site in a real browser: sort, filter, open, hover, themes, keyboard, print."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import pytest

from tests.browser.conftest import BASELINE, ODD, PHONE, PRUNED, RETRAINED, Visit

ROWS = "#cifar10 table.sortable tbody:first-of-type tr[data-entry]:not([hidden])"


def entries(page: Any) -> list[str]:
    """Ids of the measured rows on show, top to bottom."""
    names: list[str] = page.eval_on_selector_all(ROWS, "rows => rows.map(r => r.dataset.entry)")
    return names


def column(page: Any, head: str) -> list[float]:
    """The numbers of one column, top to bottom; rows without one left out."""
    return [
        float(value)
        for value in page.eval_on_selector_all(
            ROWS,
            """(rows, head) => {
              const heads = [...rows[0].closest('table').tHead.rows[0].cells];
              const place = heads.findIndex(h => h.textContent.trim() === head);
              return rows.map(r => r.cells[place].dataset.value);
            }""",
            head,
        )
        if value
    ]


@pytest.fixture(params=["disk", "web"])
def anywhere(request: pytest.FixtureRequest) -> Visit:
    """The site from a disk, and from a folder of a web server."""
    found: Visit = request.getfixturevalue(request.param)
    return found


def test_the_front_page_shows_claims_board_and_chart(anywhere: Visit) -> None:
    page = anywhere.open()
    anywhere.drawn()
    assert page.locator("h1").inner_text() == "Do published pruning results hold?"
    figures = page.locator(".figures").inner_text().split()
    assert figures[:2] == ["reproduced", "4"]  # in the order of the document
    assert page.locator("section.board:visible").count() == 1
    assert len(entries(page)) == 5
    assert page.locator("#cifar10 .chart svg [role=link]").count() >= 5


@pytest.mark.parametrize(
    ("head", "first"), [("evaluated", "descending"), ("MACs (M)", "ascending")]
)
def test_a_click_sorts_and_another_one_turns_it_round(disk: Visit, head: str, first: str) -> None:
    page = disk.open()
    button = page.locator("#cifar10 thead button", has_text=re.compile(f"^{re.escape(head)}$"))
    button.click()
    assert button.locator("..").get_attribute("aria-sort") == first
    values = column(page, head)
    assert len(values) >= 4
    assert values == sorted(values, reverse=first == "descending")
    button.click()
    assert column(page, head) == sorted(values, reverse=first == "ascending")
    assert page.locator('#cifar10 thead [aria-sort]:not([aria-sort="none"])').count() == 1


def test_rows_without_a_number_stay_last_in_both_directions(disk: Visit) -> None:
    page = disk.open()
    button = page.locator("#cifar10 thead button", has_text="retrained")
    for _ in range(2):
        button.click()
        assert entries(page)[0] == RETRAINED


def test_filters_narrow_table_chart_and_count(disk: Visit) -> None:
    page = disk.open()
    disk.drawn()
    form = page.locator("#cifar10 form.filters")
    form.get_by_label("Method").select_option("l1norm")
    assert entries(page) == [PRUNED]
    assert re.fullmatch(r"1 of 5 rows", form.locator(".count").inner_text())
    page.wait_for_function(
        "document.querySelector('#cifar10 .chart-note').textContent.startsWith('1 of ')"
    )
    form.get_by_label("Search").fill("nothing like it")
    assert page.locator("#cifar10 .nothing").is_visible()
    form.get_by_role("button", name="Clear").click()
    page.wait_for_function(f"document.querySelectorAll(`{ROWS}`).length === 5")


def test_measured_only_hides_what_is_only_published(disk: Visit) -> None:
    page = disk.open()
    group = page.locator("#cifar10 details.unmeasured").first
    assert group.is_visible()
    assert group.locator("summary small").inner_text().endswith(("row", "rows"))
    page.locator("#cifar10").get_by_label("measured only").check()
    assert not group.is_visible()
    assert len(entries(page)) == 5
    assert "measured=1" in page.url


def test_an_entry_opens_with_its_whole_story(anywhere: Visit) -> None:
    page = anywhere.open()
    page.locator("#cifar10").get_by_role("link", name=PRUNED, exact=True).click()
    page.wait_for_load_state()
    assert page.locator("h1").inner_text() == PRUNED
    text = page.locator("main").inner_text()
    for fact in ("75.56", "75.60", "+0.04", "mismatch", f"bench reproduce {PRUNED}", "c" * 64):
        assert fact in text
    assert page.locator(".layers .bar").count() == 2
    page.get_by_role("link", name=BASELINE, exact=True).first.click()
    assert page.locator("h1").inner_text() == BASELINE
    page.get_by_role("link", name="Leaderboards").click()
    page.wait_for_function("document.querySelectorAll('section.board:not([hidden])').length === 1")


def test_every_kind_of_page_opens_without_a_complaint(disk: Visit) -> None:
    for path in (
        "papers.html",
        "methods.html",
        "papers/acdc.html",
        "methods/l1norm.html",
        "entries/acdc-resnet50-90.html",
        f"entries/{RETRAINED}.html",
    ):
        assert disk.open(path).locator("main h1").count() == 1


def test_hovering_a_point_tells_its_numbers(disk: Visit) -> None:
    page = disk.open()
    disk.drawn()
    point = page.locator(f'#cifar10 .chart svg [aria-label^="{PRUNED},"]').first
    point.scroll_into_view_if_needed()
    point.hover()
    tip = page.locator("#cifar10 .tip:not([hidden])")
    tip.wait_for()
    told = tip.inner_text()
    for fact in (PRUNED, "75.60", "75.56", "60,000", "mismatch", "evaluated"):
        assert fact in told


def test_the_front_is_marked_and_another_cost_redraws(disk: Visit) -> None:
    page = disk.open()
    disk.drawn()
    marked = page.locator('#cifar10 .chart svg [aria-label*="on the Pareto front"]')
    names = {str(m.get_attribute("aria-label")).partition(",")[0] for m in marked.all()}
    # Cheapest to dearest, each better than all before it; the dense Keras net ties in cost only.
    assert names == {RETRAINED, BASELINE, "dense-resnet56-cifar10"} | {"dense-resnet20-cifar10"}
    page.locator("#cifar10 select.axis").select_option("params")
    page.wait_for_selector('#cifar10[data-drawn="params"]')
    assert "non-zero parameters" in str(page.locator("#cifar10 .chart svg").text_content())


def test_a_point_is_a_link_to_its_entry(disk: Visit) -> None:
    page = disk.open()
    disk.drawn()
    link = page.locator(f'#cifar10 .chart svg [role=link][aria-label^="{PRUNED},"]')
    link.scroll_into_view_if_needed()
    link.click()
    page.wait_for_url(f"**/entries/{PRUNED}.html")


def test_points_are_reached_read_and_opened_by_keys(disk: Visit) -> None:
    page = disk.open()
    disk.drawn()
    page.locator("#cifar10 select.axis").focus()
    page.keyboard.press("Tab")
    label = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(label).startswith(f"{RETRAINED}, retrained, top-1 91.00 %, on the Pareto")
    told = page.locator("#cifar10 .tip:not([hidden])").inner_text()
    assert RETRAINED in told and "trained 4ep" in told
    page.keyboard.press("ArrowRight")
    assert page.evaluate(label).startswith(f"{PRUNED}, evaluated")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/entries/{PRUNED}.html")


def background(page: Any) -> str:
    colour: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return colour


def test_the_theme_is_toggled_remembered_and_reaches_the_chart(web: Visit) -> None:
    page = web.open()
    web.drawn()
    light = background(page)
    label = "#cifar10 .chart svg .role-axis-label text"
    before = page.locator(label).first.get_attribute("fill")
    toggle = page.get_by_role("button", name="Dark theme")
    toggle.click()
    dark = background(page)
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(16, 20, 24)")
    page.wait_for_function(
        "([label, before]) => { const text = document.querySelector(label);"
        " return text && text.getAttribute('fill') !== before; }",
        arg=[label, before],
    )
    web.open(f"entries/{PRUNED}.html")
    assert background(page) == dark
    assert page.get_by_role("button", name="Light theme").get_attribute("aria-pressed") == "true"


def test_a_dark_system_gets_the_dark_theme_on_a_phone_without_sideways_scrolling(
    phone: Visit,
) -> None:
    for path in ("index.html", f"entries/{PRUNED}.html", "papers/acdc.html"):
        page = phone.open(path)
        assert background(page) == "rgb(16, 20, 24)"
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


def test_everything_works_from_the_keyboard(disk: Visit) -> None:
    page = disk.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("#tab-cifar10").focus()
    page.keyboard.press("ArrowRight")
    shown = page.locator("section.board:visible").get_attribute("id")
    assert shown != "cifar10"
    assert page.url.endswith(f"#{shown}")
    page.keyboard.press("Home")
    assert page.locator("section.board:visible").get_attribute("id") == "cifar10"
    head = page.locator("#cifar10 thead button", has_text="published")
    head.focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    assert head.locator("..").get_attribute("aria-sort") == "descending"
    assert "Sorted by published" in page.locator("#sort-cifar10").inner_text()


def test_an_address_with_a_data_set_opens_its_board(disk: Visit) -> None:
    page = disk.open("index.html#imagenet")
    assert page.locator("section.board:visible").get_attribute("id") == "imagenet"


A11Y = """() => {
  const problems = [];
  const named = e => (e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')
    || e.labels?.[0]?.textContent || e.textContent || '').trim();
  const all = selector => [...document.querySelectorAll(selector)];
  for (const e of all('input, select, button, a[href], [role=img], [role=link], [role=group]')) {
    if (!named(e)) problems.push('no name: ' + e.outerHTML.slice(0, 80));
  }
  for (const e of all('table')) {
    if (!e.querySelector('th[scope]')) problems.push('table without scopes');
  }
  const ids = all('[id]').map(e => e.id).filter(id => !id.startsWith('vg-'));
  problems.push(...ids.filter((id, i) => ids.indexOf(id) !== i).map(id => 'twice: ' + id));
  const levels = all('main h1, main h2, main h3').map(h => Number(h.tagName[1]));
  levels.forEach((level, i) => {
    if (level - (levels[i - 1] || 0) > 1) problems.push('heading skips to ' + level);
  });
  if (!document.documentElement.lang) problems.push('no language');
  return problems;
}"""


@pytest.mark.parametrize(
    "path", ["index.html", "papers.html", "papers/acdc.html", f"entries/{PRUNED}.html"]
)
def test_controls_pictures_and_tables_have_names(disk: Visit, path: str) -> None:
    page = disk.open(path)
    if path == "index.html":
        disk.drawn()
    assert page.evaluate(A11Y) == []


def test_paper_shows_tables_and_no_controls(disk: Visit) -> None:
    page = disk.open()
    disk.drawn()
    page.emulate_media(media="print", color_scheme="dark")
    assert background(page) == "rgb(255, 255, 255)"
    assert not page.locator("#theme").is_visible()
    assert not page.locator("#cifar10 form.filters").is_visible()
    assert page.locator("#cifar10 table.sortable").is_visible()
    page.set_viewport_size({"width": 700, "height": 1000})  # A4 between its margins
    names = page.locator("#cifar10 table.sortable th[scope=row] > a")
    heights = [box["height"] for name in names.all() if (box := name.bounding_box())]
    lines = max(heights) / float(
        names.first.evaluate("e => parseFloat(getComputedStyle(e).fontSize)")
    )
    assert lines < 6  # an id folds into a few lines, not letter by letter


def test_what_a_short_run_left_out_stands_below_its_board(disk: Visit) -> None:
    page = disk.open()
    row = page.locator(f'#cifar10 tr[data-entry="{RETRAINED}"]')
    mark = row.get_by_role("link", name=re.compile("^note"))
    note = page.locator("#cifar10 .notes li", has_text="trained 4ep")
    assert mark.inner_text() == str(note.evaluate("e => e.value"))
    mark.click()
    assert note.evaluate("e => e === document.activeElement")
    assert mark.get_attribute("title") == note.inner_text()


def test_an_address_within_a_board_opens_that_board(disk: Visit) -> None:
    page = disk.open("index.html#sort-imagenet")
    assert page.locator("section.board:visible").get_attribute("id") == "imagenet"


def test_without_scripts_every_board_is_readable(browser: Any, site: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.as_uri()}/index.html")
    boards = page.locator("section.board")
    assert boards.count() >= 8
    assert all(board.is_visible() for board in boards.all())
    context.close()


@pytest.mark.parametrize(
    ("path", "width", "scheme"),
    [
        ("index.html#cifar10&short=1", 1280, "light"),
        ("index.html#cifar10", PHONE, "dark"),
        (f"entries/{PRUNED}.html", PHONE, "dark"),
    ],
)
def test_axe_finds_no_violation(
    browser: Any, site: Any, path: str, width: int, scheme: str
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python", reason="needs axe: pip install -e '.[browser]'"
    )
    script = (files(axe) / "axe.min.js").read_text("utf-8")
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(f"{site.as_uri()}/{path}")
    if path.startswith("index"):
        page.wait_for_selector("#cifar10[data-drawn]")
    page.evaluate(script)
    found = page.evaluate("axe.run()")
    context.close()
    assert len(found["passes"]) > 20
    assert [(v["id"], v["nodes"][0]["html"]) for v in found["violations"]] == []


def test_what_is_shown_stands_in_the_address(disk: Visit) -> None:
    page = disk.open()
    page.locator("#cifar10").get_by_label("Method").select_option("dense")
    page.locator("#cifar10 thead button", has_text="evaluated").click()
    page.locator("#cifar10 select.axis").select_option("sparsity")
    page.get_by_role("button", name="Dark theme").click()
    shown, address = entries(page), page.url
    assert "#cifar10&method=dense&sort=-evaluated&cost=sparsity&theme=dark" in address
    disk.open("papers.html")
    page.evaluate("localStorage.clear()")
    page.goto(address)
    page.wait_for_selector("#cifar10[data-drawn=sparsity]")
    assert entries(page) == shown and len(shown) == 3
    assert background(page) == "rgb(16, 20, 24)"


def test_words_of_a_point_stay_in_the_figure_and_go_with_the_focus(disk: Visit) -> None:
    page = disk.open()
    disk.drawn()
    page.locator("#cifar10 select.axis").focus()
    page.keyboard.press("Tab")
    tip = page.locator("#cifar10 .tip")
    top, bottom = page.evaluate(  # at one moment: the page may be scrolling
        """() => {
          const box = e => document.querySelector('#cifar10 ' + e).getBoundingClientRect();
          const [frame, tip] = [box('figure.plot'), box('.tip')];
          return [tip.top - frame.top, frame.bottom - tip.bottom];
        }"""
    )
    assert top >= 0 and bottom >= 0
    page.keyboard.press("Tab")
    assert not tip.is_visible()


def test_on_a_phone_a_row_is_a_card_with_its_verdict_first(phone: Visit) -> None:
    page = phone.open()
    row = page.locator("#cifar10 table.sortable tbody tr[data-entry]").first
    verdict, name = (
        row.locator(part).bounding_box() for part in ("td.verdict-cell", "th[scope=row]")
    )
    assert verdict and name and verdict["y"] < name["y"]


def test_a_number_beyond_the_axis_is_named_below_the_chart(disk: Visit) -> None:
    page = disk.open("index.html#imagenet")
    page.locator("#imagenet select.axis").select_option("sparsity")
    page.wait_for_selector('#imagenet[data-drawn="sparsity"]')
    note = page.locator("#imagenet .chart-note")
    assert f"Beyond the axis, drawn at its edge: {ODD} (1.00 %)." in note.inner_text()
    page.locator("#imagenet select.axis").select_option("params")
    page.wait_for_selector('#imagenet[data-drawn="params"]')
    assert "Beyond" not in note.inner_text()  # alone there, so nothing is beyond
