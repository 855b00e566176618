"""The pages of retrained MNIST rows and of SNIP's gap: what they say follows from the numbers."""

from __future__ import annotations

import pytest

from benchmarks import mnist_rows, snip_gap
from harness.registry import load
from harness.results import Protocol, Run, save
from harness.results.verdicts import Comparison
from tests.support.results import counts, made

ROW = "snip-lenet300-mnist-95"


def run(seed: int, top1: int, cpu_s: float | None = 100.0) -> Run:
    return Run(
        seed=seed,
        counts=counts(top1, 10_000),
        best_top1_pct=top1 / 100 + 0.1,
        best_epoch=1,
        epochs=2.0,
        steps=10,
        wall_s=200.0,
        cpu_s=cpu_s,
    )


def retrained(when: str, *runs: Run, smoke: str = ""):
    error = Comparison(status="not reached", published="1.6", measured=2.0, reason="Δ = +0.40")
    return made(
        ROW,
        when,
        dataset="mnist",
        mode="trained",
        smoke=smoke,
        runs=runs,
        checkpoint=None,
        metrics={"top1_error_pct": error},
        recipe=Protocol(name="snip-mnist-75k", version=1, sha256="a" * 64),
    )


def test_a_line_has_mean_spread_best_and_cost(monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    save(retrained("20260101T0Z-1", run(0, 9790), run(1, 9810)))
    save(retrained("20260102T0Z-1", run(0, 9000), smoke="changed recipe: length=1it"))
    (line,) = mnist_rows.table(mnist_rows.newest(load())).splitlines()[2:]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:] == [
        "error %",
        "1.6",
        "2.00 ± 0.14",
        "1.90 ± 0.14",
        "2",
        "not reached",
        "100",
    ]
    assert cells[0] == f"[`{ROW}`](results/{ROW}/20260101T0Z-1.json)"
    told = mnist_rows.assumptions(load(), mnist_rows.newest(load()))
    assert told.startswith("- `snip-mnist-75k`: assumed length, selection, runs. 75,000 iterations")


def test_wall_time_of_one_thread_bounds_what_was_not_measured():
    assert mnist_rows._cost(retrained("20260101T0Z-1", run(0, 9790, cpu_s=None))) == "≤ 200"


def record(**errors: tuple[float, float]) -> dict:
    runs = {
        name: {"last_error_pct": [last, last], "best_error_pct": [best, best]}
        for name, (last, best) in errors.items()
    }
    return {"row": ROW, "printed_error_pct": "1.6", "variations": runs}


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ({"plain": (2.2, 2.0), "biases": (1.9, 1.7)}, "None of these 2 gives the printed number"),
        ({"plain": (2.2, 2.0), "biases": (1.65, 1.6)}, "last iterates, these give the printed"),
        ({"plain": (2.2, 2.0), "biases": (1.9, 1.64)}, "best looks, these give the printed"),
    ],
)
def test_the_page_says_plainly_what_explains_the_gap(errors, said):
    page = snip_gap.page(record(**errors))
    assert said in page.splitlines()[-1]
    assert "| biases | 2 |" in page and ("biases" in page.splitlines()[-1])


def test_every_variation_changes_a_recipe_that_exists():
    from harness.registry import with_overrides

    recipe = load().recipes["snip-mnist-75k"]
    for name, changes in snip_gap.VARIATIONS.items():
        changed, told = with_overrides(recipe, changes)
        assert len(told) == len(changes) and (changed != recipe) == bool(changes), name
