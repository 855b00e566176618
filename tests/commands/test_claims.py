"""`bench claims`: how many published rows hold."""

from __future__ import annotations

from harness import results
from harness.registry import load
from harness.results import link_answers
from harness.results.link_answers import Link
from tests.commands.conftest import Bench, document
from tests.support.results import made


def test_counts_reasons_and_links_are_printed(bench: Bench) -> None:
    results.save(made("dense-resnet20-cifar10"))
    results.save(made("dense-resnet56-cifar10", status="mismatch"))
    done = bench("claims")
    assert done.exit_code == 0
    own = len(load().select(paper="reprune"))
    total = len(load().entries) - own
    assert (
        f"{total} published rows: 1 reproduced, 1 contradicted, {total - 2} cannot" in done.stdout
    )
    assert f"not among them: {own} networks of this project itself" in done.stdout
    assert "dense-resnet56-cifar10  mismatch" in done.stdout
    assert "never probed. Ask them: bench registry links" in done.stdout


def test_json_counts_add_up(bench: Bench) -> None:
    address = next(a for a, kind in link_answers.addresses(load()).items() if kind == "page")
    link_answers.save_links({address: Link("2026-11-20T10:00:00Z", True, 200, "answers")})
    found = document(bench("claims", "--json"))
    assert sum(found["counts"].values()) == found["rows"] == len(found["entries"])
    papers = [sum(counts.values()) for counts in found["papers"].values()]
    assert sum(papers) == found["rows"]
    assert (found["pages"]["alive"], found["pages"]["last_checked"]) == (1, "2026-11-20")
