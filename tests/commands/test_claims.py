"""`bench claims`: how many published figures hold."""

from __future__ import annotations

from harness import results
from harness.checkpoints import addresses
from harness.registry import load
from harness.results import link_answers
from harness.results.link_answers import Link
from tests.commands.conftest import Bench, document
from tests.support.results import made


def test_counts_reasons_and_links_are_printed(bench: Bench) -> None:
    results.save(made("dense-resnet20-cifar10"))
    results.save(made("dense-resnet56-cifar10", "20260102T0Z-2", status="mismatch"))
    done = bench("claims")
    assert done.exit_code == 0
    own = len(load().select(paper="reprune"))
    total = len(load().entries) - own
    assert f"{total} published rows, 2 judged; " in done.stdout
    assert ": 1 reproduced, 1 contradicted, " in done.stdout
    assert f"not among them: {own} networks of this project itself" in done.stdout
    [line] = [x for x in done.stdout.splitlines() if x.startswith("dense-resnet56-cifar10 ")]
    assert line.split()[1:4] == ["top1_pct", "93.39", "mismatch"]
    assert line.rstrip().endswith("bench reproduce dense-resnet56-cifar10")
    assert "never probed. Ask them: bench registry links" in done.stdout


def test_json_counts_add_up(bench: Bench) -> None:
    address = next(a for a, kind in addresses(load()).items() if kind == "page")
    link_answers.save_links({address: Link("2026-11-20T10:00:00Z", True, 200, "answers")})
    found = document(bench("claims", "--json"))
    assert sum(found["counts"].values()) == len(found["figures"])
    papers = [sum(counts.values()) for counts in found["papers"].values()]
    assert sum(papers) == len(found["figures"])
    assert sum(found["waits_for"].values()) == found["counts"]["waits"]
    assert (found["pages"]["alive"], found["pages"]["last_checked"]) == (1, "2026-11-20")


def test_one_paper_is_listed_figure_by_figure(bench: Bench) -> None:
    figures = document(bench("claims", "--paper", "rd-prune", "--json"))["figures"]
    entries = load().select(paper="rd-prune")
    assert [(f["entry"], f["figure"]) for f in figures] == [
        (entry.id, name) for entry in entries for name in entry.published
    ]
    done = bench("claims", "--paper", "rd-prune")
    assert "bench reproduce rd-resnet32-cifar10-95.5 --mode train" in done.stdout
    assert bench("claims", "--paper", "rdprune").exit_code == 2
