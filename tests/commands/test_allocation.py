"""`bench allocation`, and the options of `bench prune` that choose a method's measurement."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from harness.models import build
from harness.models.convnet_tiny import ConvNetTiny
from harness.results.store import load_all
from tests.commands.conftest import Bench, document

DENSE = "dense-convnet-tiny-digits"
SIZES = {"conv1": 144, "conv2": 4608, "conv3": 9216, "fc": 320}
QUICK = ("--calibration", "16")
PRUNE = ("prune", "--method", "rd", "--model", "convnet_tiny", "--dataset", "digits")
FROM_DENSE = (*PRUNE, "--start", DENSE, "--no-tracking", "--set", "settings.points=5")


def cached(home: Path) -> list[str]:
    return sorted(file.name for file in (home / "cache" / "curves").glob("*/*"))


def test_allocation_shows_five_rules_at_one_target(bench: Bench) -> None:
    chosen = ("allocation", DENSE, "--target", "0.8", *QUICK, "--set", "points=5")
    result = document(bench(*chosen, "--json"))
    assert [(row["name"], row["weights"]) for row in result["layers"]] == list(SIZES.items())
    assert list(result["rules"]) == ["RD", "LAMP", "ERK", "uniform+", "global"]
    total = sum(SIZES.values())
    for label, rule in result["rules"].items():
        kept = sum(row["kept"][label] for row in result["layers"])
        assert rule["sparsity_pct"] == pytest.approx(100 * (1 - kept / total), rel=1e-12)
        assert kept == total - round(0.8 * total)
    steps = [5 * (1 - row["kept"]["RD"] / row["weights"]) for row in result["layers"]]
    off_the_grid = [s for s in steps if s != pytest.approx(round(s), abs=5 / 144)]
    assert len(off_the_grid) <= 1  # the layer that was given back what was too much


def test_allocation_prints_a_table_draws_a_picture_and_measures_once(
    bench: Bench, home: Path, tmp_path: Path
) -> None:
    chosen = ("allocation", DENSE, *QUICK, "--set", "points=5", "--target")
    first = bench(*chosen, "0.5", "--plot", tmp_path / "a.png")
    assert first.exit_code == 0, first.stderr
    lines = first.stdout.splitlines()
    assert lines[1].split() == ["layer", "weights", "RD", "LAMP", "ERK", "uniform+", "global"]
    assert [line.split()[0] for line in lines[2:6]] == list(SIZES)
    assert lines[6].split()[:3] == ["all", "layers", "14,288"]
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert "distortion curves" in first.stderr
    assert cached(home) == ["choices.npy", *(f"{name}.npy" for name in SIZES)]
    again = bench(*chosen, "0.6")
    assert "distortion curves" not in again.stderr
    assert len(cached(home)) == len(SIZES) + 2


def test_a_finished_run_is_shown_beside_the_rules(bench: Bench) -> None:
    run = bench(*FROM_DENSE, *QUICK, "--target", "0.5", "--name", "mine", "--rounds", "2")
    assert run.exit_code == 0, run.stderr
    [stored] = load_all(entry="mine")
    shown = bench("allocation", DENSE, "--run", "mine", *QUICK, "--set", "points=5", "--json")
    result = document(shown)
    assert result["target"] == stored.cost.sparsity_pct / 100
    kept = [row["kept"]["mine"] for row in result["layers"]]
    assert kept == [layer.nnz for layer in stored.cost.layers]


def test_prune_options_are_settings_on_record(bench: Bench) -> None:
    chosen = ("--budget", "macs", "--calibration", "16", "--solver", "exact", "--target", "0.5")
    run = bench(*FROM_DENSE, *chosen, "--name", "mine")
    assert run.exit_code == 0, run.stderr
    [stored] = load_all(entry="mine")
    assert stored.settings == {
        "budget": "macs",
        "solver": "exact",
        "calibration": "train",
        "calibration_size": 16,
        "points": 5,
    }
    assert stored.cost.macs_effective <= 0.5 * stored.cost.macs_dense
    assert stored.cost.macs_effective > 0.35 * stored.cost.macs_dense


def test_made_up_images_need_no_number(bench: Bench) -> None:
    shown = bench(*FROM_DENSE, "--calibration", "synthetic", "--target", "0.5", "--dry-run")
    assert shown.exit_code == 0, shown.stderr
    assert "'calibration': 'synthetic'" in shown.stdout


@pytest.mark.parametrize(
    ("option", "value"),
    [("--budget", "macs"), ("--calibration", "10"), ("--solver", "official")],
)
def test_options_of_measuring_methods_are_refused_elsewhere(
    bench: Bench, option: str, value: str
) -> None:
    words = [word if word != "rd" else "magnitude" for word in FROM_DENSE]
    refused = bench(*words, "--target", "0.5", option, value)
    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"bench: {option} is for methods that measure, such as rd")
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--calibration", "many"), "'many' is not a whole number. Nor is it the word synthetic"),
        (("--calibration", "0"), "0 is not in the range x>=1. Nor is it the word synthetic"),
        (("--calibration", "1434"), "cannot draw 1434 calibration images from 1433; take 1 to"),
        ((*QUICK, "--solver", "official"), "use the exact solver"),
        ((*QUICK, "--solver", "official", "--budget", "macs"), "knows no MACs budget"),
    ],
)
@pytest.mark.parametrize("verb", ["prune", "allocation"])
def test_requests_that_cannot_be_met_are_one_line_and_code_2(
    bench: Bench, home: Path, verb: str, words: tuple[str, ...], reason: str
) -> None:
    asked = FROM_DENSE if verb == "prune" else ("allocation", DENSE)
    refused = bench(*asked, "--target", "0.9", *words)
    assert refused.exit_code == 2
    assert reason in refused.stderr.splitlines()[-1]
    assert refused.stderr.splitlines()[-1].startswith("bench: ")
    assert refused.stdout == ""
    assert cached(home) == []


def test_a_run_that_empties_layers_says_so(bench: Bench) -> None:
    run = bench(*FROM_DENSE, *QUICK, "--target", "0.99999", "--name", "mine")
    assert run.exit_code == 0, run.stderr
    [stored] = load_all(entry="mine")
    assert stored.cost.collapsed == tuple(SIZES)
    assert "no weight left in conv1, conv2, conv3, fc" in stored.notes
    assert "no weight left in conv1" in " ".join(run.stdout.split())


@pytest.mark.slow
def test_made_up_images_need_no_data(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "resnet18.pth"
    torch.save(build("resnet18").state_dict(), file)
    chosen = ("--target", "0.5", "--set", "points=1", "--set", "calibration_size=1")
    asked = ("allocation", "dense-resnet18-torchvision", "--from", file, *chosen)
    refused = bench(*asked)
    assert refused.exit_code == 4
    assert "imagenet: not found" in refused.stderr
    shown = bench(*asked, "--calibration", "synthetic")
    assert shown.exit_code == 0, shown.stderr


def test_a_layer_never_executed_stops_the_official_solver_before_anything_is_measured(
    bench: Bench, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConvNetTiny, "forward", lambda self, x: self.fc(x.flatten(1)[:, :32]))
    chosen = ("allocation", DENSE, *QUICK, "--set", "points=5", "--target")
    refused = bench(*chosen, "0.3", "--solver", "official")
    assert refused.exit_code == 2
    told = "layer 'conv1' is never executed, so the published program has a curve less than layers"
    assert told in refused.stderr.splitlines()[-1]
    assert cached(home) == []
    shown = bench(*chosen, "0.3")
    assert shown.exit_code == 0
    assert "layer conv3 is never executed: its curve is 0, so it is pruned first" in shown.stderr


@pytest.mark.parametrize("calibration", ["16", "synthetic"])
def test_a_network_whose_logits_are_not_numbers_is_refused_and_nothing_kept(
    bench: Bench, home: Path, tmp_path: Path, calibration: str
) -> None:
    broken = build("convnet_tiny", num_classes=10, in_channels=1)
    broken.fc.weight.data.fill_(3e38)  # finite, as a file has to be; the products are not
    file = tmp_path / "huge.safetensors"
    save_file(broken.state_dict(), file)
    refused = bench(*PRUNE, "--weights", file, "--target", "0.5", "--calibration", calibration)
    assert refused.exit_code == 2
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("bench: the network to prune cannot be measured: ")
    assert "non-finite logits" in last
    assert cached(home) == []


def test_allocation_needs_a_target_or_a_run_that_exists(bench: Bench) -> None:
    assert "say how much to remove" in bench("allocation", DENSE).stderr
    missing = bench("allocation", DENSE, "--run", "nothing")
    assert missing.exit_code == 2
    assert "no finished run is called 'nothing'" in missing.stderr
