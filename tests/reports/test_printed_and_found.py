"""The picture of disputed files: which lines it has, and that the README's is today's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import MetricError, ProtocolError
from harness.registry import load
from harness.reports.claims import count_claims
from harness.reports.plots.printed_and_found import (
    PrintedAndFound,
    draw_printed_and_found,
    files_in_dispute,
)
from harness.results.store import load as load_result
from harness.results.verdicts import Comparison
from tests.support.results import made

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = load()
PRUNED, DENSE = "snip-resnet20-cifar10-90-keras", "dense-resnet20-cifar10"


def _sparse(status: str, found: float) -> dict[str, Comparison]:
    return {
        "top1_pct": Comparison("exact", "77.49", measured=77.50),
        "sparsity_pct": Comparison(status, "90", measured=found),
    }


def test_a_file_has_lines_once_one_of_its_figures_fails() -> None:
    good = made(DENSE)
    bad = made(PRUNED, metrics=_sparse("claim contradicted", 0.0))
    lines = files_in_dispute(count_claims(REGISTRY, [good, bad], {}).figures())
    assert lines == [
        PrintedAndFound(PRUNED, "top1_pct", 77.49, 77.50, True),
        PrintedAndFound(PRUNED, "sparsity_pct", 90.0, 0.0, False),
    ]


def test_weights_trained_here_say_nothing_of_a_published_file() -> None:
    again = made(PRUNED, mode="trained", metrics=_sparse("inconsistent", 12.0))
    assert files_in_dispute(count_claims(REGISTRY, [again], {}).figures()) == []


def test_the_same_lines_give_the_same_bytes(tmp_path: Path) -> None:
    lines = [PrintedAndFound("a", "sparsity_pct", 90, 0, False)]
    one = draw_printed_and_found(lines, tmp_path / "one.svg").read_bytes()
    assert one == draw_printed_and_found(lines, tmp_path / "two.svg").read_bytes()


def test_nothing_to_draw_and_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="bench reproduce"):
        draw_printed_and_found([], tmp_path / "x.svg")
    with pytest.raises(ProtocolError, match=r"\.png, \.svg or \.pdf"):
        draw_printed_and_found([PrintedAndFound("a", "top1_pct", 1, 2, False)], tmp_path / "x.gif")
    assert list(tmp_path.iterdir()) == []


def test_the_readmes_picture_shows_the_stored_results() -> None:
    record = [load_result(file) for file in sorted(ROOT.glob("reports/results/*/*.json"))]
    lines = files_in_dispute(count_claims(REGISTRY, record, {}).figures())
    picture = (ROOT / "docs" / "images" / "printed-and-found.svg").read_text()
    words = re.findall(r"<text[^>]*>([^<]*)</text>", picture)
    entries = list(dict.fromkeys(line.entry for line in lines))
    assert [word for word in words if word in REGISTRY.entries] == entries
    found = [f"{line.found:.2f}" for line in lines if not line.holds]
    shown = [word for word in words if re.fullmatch(r"\d+\.\d\d", word)]
    assert sorted(shown) == sorted(found), "bench claims --plot docs/images/printed-and-found.svg"
