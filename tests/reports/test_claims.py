"""What became of every published figure, and of the addresses, against hand counts."""

from __future__ import annotations

import pytest

from harness.checkpoints import addresses
from harness.registry import load
from harness.reports.claims import count_claims
from harness.results import OUTCOMES
from harness.results.link_answers import Link
from tests.support.results import made, trained

REGISTRY = load()
WITH_FILE = "dense-resnet20-cifar10"  # prints its top-1 only
PUBLISHED = [e for e in REGISTRY.entries.values() if e.paper != "reprune"]


def test_every_figure_that_others_published_is_counted_once() -> None:
    found = count_claims(REGISTRY, [made(WITH_FILE), made("local-thing")], {})
    assert list(found.rows) == [e.id for e in PUBLISHED]
    total = sum(len(e.published) for e in PUBLISHED)
    counts = found.counts()
    assert tuple(counts) == OUTCOMES
    assert (sum(counts.values()), counts["reproduced"], found.settled_rows()) == (total, 1, 1)
    assert sum(found.needs().values()) == counts["waits"]
    assert sum(found.reasons().values()) == counts["waits"] + counts["cannot be checked"]
    for paper in REGISTRY.papers:
        mine = sum(len(e.published) for e in PUBLISHED if e.paper == paper)
        assert sum(found.counts(paper).values()) == mine


def test_our_own_networks_reproduce_nobody() -> None:
    ours = [e.id for e in REGISTRY.entries.values() if e.paper == "reprune"]
    found = count_claims(REGISTRY, [made(id, dataset="digits") for id in ours], {})
    assert found.counts()["reproduced"] == 0
    assert (found.own, sum(found.counts("reprune").values())) == (len(ours), 0)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("exact", "reproduced"),
        ("reached", "reproduced"),
        ("mismatch", "contradicted"),
        ("claim contradicted", "contradicted"),
        ("not reached", "not reached"),
        ("published figure inconsistent", "published figure inconsistent"),
        ("smoke", "waits"),
        ("cannot check", "waits"),
    ],
)
def test_a_verdict_decides_what_became_of_its_figure(status: str, outcome: str) -> None:
    found = count_claims(REGISTRY, [made(WITH_FILE, status=status)], {})
    [figure] = found.rows[WITH_FILE]
    assert figure.outcome == outcome
    assert figure.reason
    assert figure.command


def test_a_full_result_beats_a_smoke_run_and_an_evaluation_a_training() -> None:
    old = made(WITH_FILE, "20260101T0Z-1", status="mismatch")
    smoke = made(WITH_FILE, "20260103T0Z-1", status="smoke", smoke="few")
    own = trained(
        entry=WITH_FILE, when="20260104T0Z-1", status="consistent", published="1", paper="a"
    )
    assert count_claims(REGISTRY, [old, smoke, own], {}).counts()["contradicted"] == 1
    assert count_claims(REGISTRY, [smoke, own], {}).counts()["reproduced"] == 1


def link(ok: bool | None, checked: str = "2026-11-20T10:00:00Z") -> Link:
    return Link(checked=checked, ok=ok, status=200 if ok else 404, detail="")


def test_a_dead_file_leaves_its_recipe() -> None:
    checkpoint = REGISTRY.get("acdc-resnet50-90").checkpoint
    assert checkpoint is not None
    dead = {source: link(False) for source in checkpoint.sources}
    needs = {f.waits_for for f in count_claims(REGISTRY, [], dead).rows["acdc-resnet50-90"]}
    assert needs == {"gpu"}
    needs = {f.waits_for for f in count_claims(REGISTRY, [], {}).rows["acdc-resnet50-90"]}
    assert needs == {"file"}


def test_links_are_counted_by_what_they_answered() -> None:
    files = [a for a, kind in addresses(REGISTRY).items() if kind == "file"][:3]
    answers = dict(zip(files, map(link, (True, False, None)), strict=True))
    answers[files[0]] = link(True, "2026-11-21T10:00:00Z")
    found = count_claims(REGISTRY, [], answers).files
    assert (found.alive, found.dead, found.unclear) == (1, 1, 1)
    assert found.total == 3 + found.never_probed
    assert found.last_checked == "2026-11-21"
