"""bench sweep: the grid first, one table at the end, nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean, stdev

import pytest

from harness.results import load_all
from tests.commands.conftest import Bench, document

SWEEP = ["sweep", "--model", "convnet_tiny", "--dataset", "digits", "--executor", "inline"]
SWEEP += ["--no-tracking", "--set", "epochs=1", "--finetune", "1ep", "--limit", "200"]
DENSE = "dense-convnet-tiny-digits"
GRID = [*SWEEP, "--method", "gmp,magnitude", "--set", "settings.sparsity=0.5,0.9", "--seeds", 2]


def test_a_dry_run_shows_the_grid_and_its_cost_and_leaves_nothing(bench: Bench, home: Path) -> None:
    done = bench(*GRID, "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    plan = document(done)
    names = [cell["entry"] for cell in plan["cells"]]
    common = "convnet-tiny-digits"
    assert names == [
        f"local-dense-{common}",
        f"local-gmp-{common}-0.5",
        f"local-gmp-{common}-0.9",
        f"local-magnitude-{common}-0.5",
        f"local-magnitude-{common}-0.9",
    ]
    # Two seeds of 5 trainings, each with its result: the dense one of a seed is there once.
    assert plan["jobs"] == 5 * (2 + 1)
    assert plan["cost"]["trainings"] == 10
    assert plan["cost"]["images"] == 10 * 200
    assert plan["cost"]["hours"] > 0
    assert "5 cells" in done.stderr and "10 trainings, 2,000 images, about" in done.stderr
    assert not (home / "runs").exists() and not (home / "queues").exists()


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (["--dataset", "nowhere"], "no data set is called 'nowhere'"),
        (["--dataset", ","], "',' names nothing"),
        (["--evaluation", "cifar10"], "no evaluation 'cifar10' on digits; known: "),
        (["--dataset", "digits,lsun"], "no data set is called 'lsun'"),
    ],
)
def test_a_sweep_over_what_is_not_known_is_one_line(
    bench: Bench, changed: list[str], line: str
) -> None:
    one_shot = ["--method", "magnitude", "--levels", "paper", "--start", DENSE]
    done = bench(*SWEEP, *one_shot, *changed, "--dry-run")
    assert done.exit_code == 2 and done.stderr.splitlines()[-1].startswith(f"bench: {line}")


def test_a_sweep_ends_in_one_row_per_cell_and_repeats_nothing(
    bench: Bench, home: Path, tmp_path: Path
) -> None:
    done = bench(*GRID, "--json", "--plot", tmp_path / "curve.svg")
    assert done.exit_code == 0, done.stderr
    rows = document(done)
    assert len(rows) == 5 and {row["state"] for row in rows} == {"done"}
    stored = {result.result_id: result for result in load_all()}
    assert len(stored) == 5
    for row in rows:
        result = stored[row["result_id"]]
        counted = [100 * run.counts.top1 / run.counts.n for run in result.runs]
        assert row["seeds"] == [0, 1]
        assert row["top1_pct_mean"] == pytest.approx(mean(counted))
        assert row["top1_pct_std"] == pytest.approx(stdev(counted))
        level = row["changes"].get("settings.sparsity", 0.0)
        assert row["sparsity_pct"] == pytest.approx(100 * level, abs=0.5)
    assert len(list(home.glob("runs/*/*/done.json"))) == 10
    curve = (tmp_path / "curve.svg").read_text()
    assert all(f'id="curve-{method}"' in curve for method in ("dense", "gmp", "magnitude"))
    again = bench(*GRID)
    assert "15 jobs, 15 of them done before" in again.stderr
    assert again.stdout.count("magnitude") == 2 and " ± " in again.stdout
    assert len(list(load_all())) == 5


def test_one_bad_cell_costs_no_other_and_the_exit_code_says_so(bench: Bench) -> None:
    done = bench(*SWEEP, "--method", "gmp,acdc", "--set", "settings.sparsity=0.5", "--json")
    assert done.exit_code == 4
    gmp, acdc = document(done)
    assert gmp["state"] == "done"
    assert acdc["state"] == "failed" and "AC/DC cannot alternate" in acdc["reason"]


def test_settings_that_a_method_lacks_are_refused_with_the_way_out(bench: Bench) -> None:
    done = bench(*SWEEP, "--method", "str", "--set", "settings.sparsity=0.5")
    assert done.exit_code == 2
    assert "str: no setting is called 'sparsity'" in done.stderr
    assert "--set str:settings.NAME=V1,V2" in done.stderr
    fine = bench(*SWEEP, "--method", "str", "--set", "str:settings.s_init=-8,-6", "--dry-run")
    assert fine.exit_code == 0, fine.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "magnitude"], "magnitude prunes a trained network and needs levels"),
        (["--method", "nothing"], "no method is called 'nothing'"),
        (["--method", "gmp", "--levels", "some"], "no levels are called 'some'; known: paper"),
        (["--method", "gmp", "--set", "settings.sparsity=2"], "sparsity"),
        (["--method", "gmp", "--set", "settings.sparsity=0.5", "--name", "A b"], "'A b'"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(
    bench: Bench, home: Path, arguments: list[str], said: str
) -> None:
    done = bench(*SWEEP, *arguments)
    assert done.exit_code == 2, done.stderr
    assert said in done.stderr
    assert not (home / "runs").exists()


def test_the_file_of_a_run_is_where_a_grid_begins(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "method: gmp\nmodel: convnet_tiny\ndataset: digits\nseeds: 2\n"
        "set: {epochs: 1, settings.sparsity: 0.5, optimizer.lr: 0.02}\n"
    )
    grid = ("--set", "settings.sparsity=0.8,0.9", "--seeds", 1)
    done = bench("sweep", "--config", file, *grid, "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    cells = json.loads(done.stdout)["cells"]
    assert [cell["changes"]["settings.sparsity"] for cell in cells] == [0.8, 0.9]
    assert {cell["changes"]["optimizer.lr"] for cell in cells} == {0.02}
    assert {tuple(cell["seeds"]) for cell in cells} == {(0,)}
    assert "--seeds is 1 as typed, not 2 as in the file" in done.stderr


@pytest.mark.slow
def test_the_run_of_a_pruning_names_the_dense_weights_that_it_began_with(
    bench: Bench, home: Path
) -> None:
    one = [*SWEEP, "--method", "magnitude", "--set", "settings.sparsity=0.5"]
    assert bench(*one).exit_code == 0
    (pruned,) = home.glob("runs/local-magnitude-*/*-seed0")
    (dense,) = home.glob("runs/local-dense-*/*-seed0/weights.safetensors")
    assert f'weights: "{dense}"' in (pruned / "run.yaml").read_text().splitlines()
    before = (pruned / "weights.safetensors").read_bytes()
    again = bench("train", "--config", pruned / "run.yaml", "--fresh", "--no-tracking", "--json")
    assert again.exit_code == 0, again.stderr
    (again,) = home.glob("runs/local-magnitude-*/*-seed0")
    assert (again / "weights.safetensors").read_bytes() == before


def test_levels_are_a_preset(bench: Bench) -> None:
    done = bench(*SWEEP, "--method", "gmp", "--levels", "paper", "--dry-run", "--json")
    levels = [cell["changes"]["settings.sparsity"] for cell in json.loads(done.stdout)["cells"]]
    assert levels == [0.5, 0.8, 0.9, 0.95, 0.98]
