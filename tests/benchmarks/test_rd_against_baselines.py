"""The comparison of rate-distortion pruning with other rules: resumable rows, honest findings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import rd_against_baselines as script
from benchmarks import rd_report
from methods.rate_distortion.distortion import Measurement

QUICK = ["dense-convnet-tiny-digits", "--calibration", "16", "--points", "5", "--limit", "50"]


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    return tmp_path / "reports" / "rd"


def test_rows_are_measured_once_and_missing_ones_are_added(reports, monkeypatch):
    script.main([*QUICK, "--targets", "50"])
    [file] = reports.glob("*.json")
    first = json.loads(file.read_text())["rows"]
    assert [row["rule"] for row in first] == ["dense", *script.RULES]
    assert all(row["n"] == 50 for row in first)
    assert first[0]["distortion_worst"] == 0
    for row in first[1:]:
        assert 0 < row["distortion_mean"] <= row["distortion_worst"]
        assert 0 < row["unseen_mean"] <= row["unseen_worst"]
        assert sum(row["kept"]) <= 7144
    file.write_text(json.dumps({**json.loads(file.read_text()), "rows": first[:-2]}))
    old = [{k: v for k, v in row.items() if "unseen" not in k} for row in first[:-2]]
    file.write_text(json.dumps({**json.loads(file.read_text()), "rows": old}))
    measured = []
    one = script.row_of
    monkeypatch.setattr(script, "row_of", lambda *given: measured.append(given[0]) or one(*given))
    script.main([*QUICK, "--targets", "50"])
    assert measured == list(script.RULES[-2:])
    again = json.loads(file.read_text())["rows"]
    timeless = [{k: v for k, v in row.items() if k != "solver_cpu_s"} for row in again]
    assert timeless == [{k: v for k, v in row.items() if k != "solver_cpu_s"} for row in first]
    assert "| 50 | RD |" in (reports / "table.md").read_text()
    assert (reports / "accuracy.png").stat().st_size > 5_000


def test_other_configurations_have_files_of_their_own(reports):
    one = script.Record("net", {"points": 5})
    one.add({"rule": "RD", "target_pct": 50.0})
    assert script.Record("net", {"points": 5}).has("RD", 50.0)
    assert not script.Record("net", {"points": 5}).has("RD", 70.0)
    assert not script.Record("net", {"points": 6}).has("RD", 50.0)


def test_moved_logits_are_squared_averaged_over_classes_then_over_images_or_the_worst():
    dense = torch.tensor([[0.0, 0.0], [1.0, 2.0]]).double()
    changed = torch.tensor([[1.0, 3.0], [1.0, 0.0]]).double()
    assert script.moved(dense, changed) == {"distortion_mean": 3.5, "distortion_worst": 5.0}


def test_curves_are_read_between_their_rates():
    curves = torch.tensor([[0.0, 2.0, 4.0], [0.0, 0.0, 8.0]]).double()
    measurement = Measurement(("a", "b"), (4, 8), (0.0, 0.5, 1.0), curves, (), True)
    assert script.sum_of_curves(measurement, (3, 2)) == 1.0 + 4.0


ROW = {"target_pct": 50.0, "sum": 1.0}


@pytest.mark.parametrize(
    ("lamp", "sum_of_lamp", "said"),
    [
        (3.0, 2.0, "RD moves the logits least: RD 2, LAMP 3 next"),
        (1.5, 2.0, "RD solved its own problem better"),
        (1.5, 0.9, "LAMP uses rates between RD's grid points"),
    ],
)
def test_findings_say_whether_and_why_not(lamp, sum_of_lamp, said):
    rows = [
        {**ROW, "rule": "RD", "worst": 2.0},
        {**ROW, "rule": "LAMP", "worst": lamp, "sum": sum_of_lamp},
        {**ROW, "rule": "ERK", "worst": 9.0},
        {"target_pct": 50.0, "rule": "uniform+", "cannot": "infeasible"},
        {**ROW, "rule": "global", "worst": 0.1, "target_pct": 70.0},
    ]
    assert said in rd_report.finding(rows, 50.0, "worst")
    assert rd_report.finding(rows, 90.0, "worst") == "not all rules are measured yet"


JOINTLY = [
    {**ROW, "rule": "RD", "distortion_mean": 2.0, "unseen_mean": 3.0},
    {**ROW, "rule": "LAMP", "distortion_mean": 1.5, "unseen_mean": 0.9},
    {**ROW, "rule": "joint RD", "distortion_mean": 1.0, "unseen_mean": 1.0},
    {"target_pct": 50.0, "rule": "uniform+", "cannot": "infeasible"},
]


def test_the_joint_solver_is_ranked_on_pictures_it_saw_and_on_others():
    found = rd_report.finding(JOINTLY, 50.0, "distortion_mean")
    assert found == (
        "joint RD moves the logits least: joint RD 1, LAMP 1.5, RD 2; "
        "on 500 test images joint RD 1, LAMP 0.9, RD 3"
    )
    with_joint = {"rows": JOINTLY, "configuration": {"reduction": "mean"}}
    without = {"rows": JOINTLY[:2], "configuration": {"reduction": "mean"}}
    said = rd_report.tally([with_joint, without])
    assert said.startswith("Lowest measured distortion, of 1 targets with all rules: joint RD at 1")
    assert "LAMP at 1 on 500 test images" in said
