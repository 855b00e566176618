"""What became of every published row, against hand counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from harness.registry import Entry, load
from harness.reports import claims as module
from harness.reports.claims import CONTRADICTED, REPRODUCED, UNCHECKED, count_claims
from harness.reports.table.rows import row
from harness.results.link_answers import Link, addresses
from harness.results.verdict import STATUSES
from tests.support.results import made, trained

REGISTRY = load()
WITH_FILE = "dense-resnet20-cifar10"
WITHOUT_FILE = "rd-resnet32-cifar10-95.5"


def outcome_of(entry: str, *results: object, links: dict[str, Link] | None = None) -> tuple:
    found = count_claims(REGISTRY, [row(r) for r in results], links or {})  # type: ignore[arg-type]
    [claim] = [c for c in found.rows if c.entry == entry]
    return claim.outcome, claim.status, claim.why


def test_every_row_that_others_published_is_counted_once() -> None:
    found = count_claims(REGISTRY, [row(made(WITH_FILE)), row(made("local-thing"))], {})
    published = [e for e in REGISTRY.entries.values() if e.paper != "reprune"]
    assert [c.entry for c in found.rows] == [e.id for e in published]
    assert found.counts() == {REPRODUCED: 1, CONTRADICTED: 0, UNCHECKED: len(published) - 1}
    assert sum(found.reasons().values()) == len(published) - 1
    per_paper = Counter(e.paper for e in published)
    for paper in REGISTRY.papers:
        assert sum(found.counts(paper).values()) == per_paper[paper]


def test_our_own_networks_reproduce_nobody() -> None:
    ours = [e.id for e in REGISTRY.entries.values() if e.paper == "reprune"]
    found = count_claims(REGISTRY, [row(made(id, dataset="digits")) for id in ours], {})
    assert found.counts()[REPRODUCED] == 0
    assert (found.own, sum(found.counts("reprune").values())) == (len(ours), 0)


@pytest.mark.parametrize("status", STATUSES)
def test_every_verdict_has_an_outcome(status: str) -> None:
    outcome, told, why = outcome_of(WITH_FILE, made(WITH_FILE, status=status))
    expected = (
        REPRODUCED
        if status in ("exact", "match", "near", "consistent", "reached")
        else UNCHECKED
        if status in ("reported", "smoke", "cannot check", "suspect", "not reached")
        else CONTRADICTED
    )
    assert (outcome, told) == (expected, status)
    assert why


def test_a_full_result_beats_a_smoke_run_and_an_evaluation_a_training() -> None:
    old = made(WITH_FILE, "20260101T0Z-1", status="mismatch")
    smoke = made(WITH_FILE, "20260103T0Z-1", status="smoke", smoke="few")
    own = trained(entry=WITH_FILE, when="20260104T0Z-1", status="consistent", published="1")
    assert outcome_of(WITH_FILE, old, smoke, own)[0] == CONTRADICTED
    assert outcome_of(WITH_FILE, smoke, own)[0] == REPRODUCED
    assert outcome_of(WITH_FILE, smoke)[::2] == (UNCHECKED, module.SUBSET)


def link(ok: bool | None, checked: str = "2026-11-20T10:00:00Z") -> Link:
    return Link(checked=checked, ok=ok, status=200 if ok else 404, detail="")


def test_unmeasured_rows_say_whether_there_is_a_file() -> None:
    assert outcome_of(WITHOUT_FILE) == (UNCHECKED, None, module.NO_FILE)
    assert outcome_of(WITH_FILE) == (UNCHECKED, None, module.UNREAD)
    entry: Entry = REGISTRY.get("acdc-resnet50-90")
    assert entry.checkpoint is not None
    sources = entry.checkpoint.sources
    dead = {source: link(False) for source in sources}
    assert outcome_of(entry.id, links=dead)[2] == module.GONE
    alive = {**dead, sources[-1]: link(True)}
    assert outcome_of(entry.id, links=alive)[2] == module.UNREAD


def test_links_are_counted_by_kind_and_never_probed_is_said() -> None:
    kinds = addresses(REGISTRY)
    files = [a for a, kind in kinds.items() if kind == "file"]
    answers = {
        files[0]: link(True),
        files[1]: link(False, "2026-11-21T10:00:00Z"),
        files[2]: link(None),
        "https://elsewhere.example/": link(True),
    }
    found = count_claims(REGISTRY, [], answers)
    rest = len(files) - 3
    assert found.files == module.LinkCount(len(files), 1, 1, 1, rest, "2026-11-21")
    pages = len(kinds) - len(files)
    assert found.pages == module.LinkCount(pages, 0, 0, 0, pages, None)


def test_an_alias_counts_for_its_entry() -> None:
    aliased = replace(REGISTRY, aliases={"former-name": WITH_FILE})
    found = count_claims(aliased, [row(made("former-name"))], {})
    assert found.counts()[REPRODUCED] == 1
