"""A dynamic row from two lines of a registry: baseline first, then gates, then honest figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.data.batches import evaluation_batches
from harness.models import build
from harness.registry import Registry, from_mapping, load
from harness.reports.table.columns import shown_columns
from harness.reports.table.formats import render_leaderboard
from harness.reports.table.rows import row
from harness.results import as_json
from harness.results.schema import Result
from harness.results.store import load_all
from harness.system.options import Options
from harness.training import Training, reproduce_by_training
from harness.training.start_weights import start_entry, trained_first
from methods.base import Schedule
from methods.ftwt import FTWT, FTWTSettings
from tests.support.results import made

REGISTRY = Path(__file__).parent.parent / "fixtures" / "registry" / "gated.yaml"
# convnet_tiny by hand: 3x3 convolutions of 16, 32 and 32 filters on 8x8 twice, then 4x4 pixels.
CONV_MACS = 9_216 + 294_912 + 147_456
LINEAR_MACS = 320
HEAD_MACS = 1 * 16 + 16 * 32 + 32 * 32
HEAD_PARAMS = HEAD_MACS + 16 + 32 + 32


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(extra=[REGISTRY])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def run(registry: Registry, **training: object) -> Result:
    entry = registry.get("gated-tiny")
    recipe = registry.recipes["gated-dynamic"]
    return reproduce_by_training(entry, registry, recipe, Options(), Training(**training))


@pytest.fixture(scope="module")
def result(registry: Registry, home: Path) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_HOME", str(home))
        return run(registry, seeds=(0, 1))


@pytest.fixture
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(home))
    return home


def test_the_baseline_is_trained_first_as_a_run_and_a_result_of_its_own(
    result: Result, at_home: Path
) -> None:
    (baseline,) = load_all(entry="gated-base-tiny")
    assert baseline.mode == "trained" and baseline.recipe.name == "gated-base"
    (folder,) = (at_home / "runs" / "gated-base-tiny").iterdir()
    assert result.checkpoint.source == "trained:gated-base-tiny"
    assert result.checkpoint.size_bytes == (folder / "best.safetensors").stat().st_size


def test_repeating_the_command_trains_and_records_no_baseline_again(
    result: Result, registry: Registry, at_home: Path
) -> None:
    again = run(registry, seeds=(0, 1))
    assert len(list(load_all(entry="gated-base-tiny"))) == 1
    assert again.runs == result.runs
    assert (again.cost, again.latency) == (result.cost, result.latency)


def test_only_a_start_without_a_published_file_is_trained(registry: Registry) -> None:
    source = start_entry(registry.get("gated-tiny"), registry.recipes["gated-dynamic"], registry)
    assert source == registry.get("gated-base-tiny") and trained_first(source)
    assert not trained_first(registry.get("dense-convnet-tiny-digits"))


def test_gates_are_parameters_but_no_weights_and_no_dense_macs(result: Result) -> None:
    backbone = build("convnet_tiny", num_classes=10, in_channels=1)
    dense_params = sum(p.numel() for p in backbone.parameters())
    assert result.cost.params == dense_params + HEAD_PARAMS
    assert [layer.name for layer in result.cost.layers] == ["conv1", "conv2", "conv3", "fc"]
    assert result.cost.macs_dense == CONV_MACS + LINEAR_MACS
    assert "sparsity_pct" not in result.metrics


def test_figures_are_those_of_the_weights_that_were_saved(
    result: Result, registry: Registry, at_home: Path
) -> None:
    (folder,) = (at_home / "runs" / "gated-tiny").glob("*-seed0")
    batches = evaluation_batches(registry.evaluations["digits"], None, "cpu", 100)
    images = torch.cat([images for images, _ in batches])
    for weights, figures in (
        ("weights.safetensors", result.runs[0].figures),
        ("best.safetensors", result.runs[0].best_figures),
    ):
        model = build("convnet_tiny", num_classes=10, in_channels=1)
        FTWT(FTWTSettings()).attach(model, Schedule(1, 1))
        model.load_state_dict(load_file(folder / weights))
        macs = FTWT.effective_macs(model.eval(), [images])
        assert figures["flops_reduction_pct"] == macs.reported.reduction_pct
        assert figures["strict_reduction_pct"] == macs.strict.reduction_pct
        assert figures["head_macs"] == HEAD_MACS


def test_effective_macs_are_the_strict_mean_with_a_histogram_over_all_images(
    result: Result,
) -> None:
    spread = result.cost.spread["effective_macs"]
    assert result.cost.macs_effective == round(spread.mean)
    assert sum(spread.bin_counts) == result.n_images
    assert spread.minimum <= spread.mean <= spread.maximum <= result.cost.macs_dense + HEAD_MACS
    strict = 100 * (1 - spread.mean / (CONV_MACS + LINEAR_MACS))
    assert result.cost.extra["strict_reduction_pct"] == pytest.approx(strict, rel=1e-12)


def test_the_printed_reduction_is_judged_against_the_mean_over_seeds(result: Result) -> None:
    seeds = [seed.figures["flops_reduction_pct"] for seed in result.runs]
    comparison = result.metrics["flops_reduction_pct"]
    assert comparison.measured == pytest.approx(sum(seeds) / 2, rel=1e-12)
    assert comparison.status == "inconsistent"  # nobody leaves out 99.9 %


def test_every_way_of_running_is_timed_and_says_under_which_terms(result: Result) -> None:
    latency = result.latency
    assert latency is not None
    assert list(latency.ms) == ["dense", "masked", "skipped"]
    assert all(0 < ms.p50 <= ms.p90 for ms in latency.ms.values())
    assert (latency.batch, latency.repeats, latency.device) == (1, 100, "cpu")
    assert latency.threads == torch.get_num_threads()
    assert [layer.name for layer in latency.layers] == ["conv1", "conv2", "conv3"]
    assert all(ms > 0 for layer in latency.layers for ms in layer.ms_p50.values())


def test_best_and_last_epoch_stay_apart(result: Result) -> None:
    first = result.runs[0]
    assert first.best_top1_pct == max(row["top1_pct"] for row in first.history)
    assert first.counts.top1_pct == first.history[-1]["top1_pct"]
    assert any("last epoch" in note for note in result.notes)


def test_a_result_survives_the_way_to_disk(result: Result) -> None:
    assert from_mapping(Result, json.loads(as_json(result))) == result


def test_a_dynamic_row_shows_both_counters_and_times_but_no_sparsity(result: Result) -> None:
    static = made(entry="str-a-90")
    heads = [column.head for column in shown_columns([row(static)])]
    assert "reported −%" not in heads and "ms" not in heads
    rows = [row(static), row(result)]
    text = render_leaderboard(rows, "markdown")
    header, _, first, second, *below = text.splitlines()
    cells = dict(zip(split(header), split(second), strict=True))
    extra, ms = result.cost.extra, result.latency.ms
    reported = [seed.figures["flops_reduction_pct"] for seed in result.runs]
    assert cells["sparsity %"] == "–"
    assert cells["reported −%"] == f"{sum(reported) / 2:.2f}"
    fastest = min(ms["masked"].p50, ms["skipped"].p50)
    assert cells["ms"] == f"{ms['dense'].p50:.2f} → {fastest:.2f}"
    assert cells["MACs (M)"] == f"{extra['effective_macs'] / 1e6:.2f}"
    assert dict(zip(split(header), split(first), strict=True))["strict −%"] == "–"
    assert any("refilled channels" in line for line in below)


def split(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]
