"""Gated networks in the paper's files: out of a run, into the store, and measured again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from click.testing import Result as Ran

from cli import main
from harness import paths
from harness.models import build
from harness.results.schema import Result
from harness.results.store import load_all
from methods.base import Schedule
from methods.ftwt import FTWT, FTWTSettings
from methods.ftwt.gates import gates_of
from methods.ftwt.paper_files import export_paper_layout

# convnet_tiny: (conv, input channels, filters); 451,584 MACs in convolutions, 320 in the classifier
DENSE_MACS = 451_584 + 320
HEAD_MACS = 1 * 16 + 16 * 32 + 32 * 32


def bench(*words: object) -> Ran:
    result = CliRunner().invoke(main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def home(home: Path) -> Path:
    """A folder for files, and an empty home below it."""
    return home.parent


def gated_vgg(keep: int) -> torch.nn.Module:
    """A CIFAR VGG-16 whose every gate keeps its first `keep` filters, whatever it sees."""
    torch.manual_seed(0)
    model = build("vgg16_bn_cifar", num_classes=10, in_channels=3)
    FTWT(FTWTSettings()).attach(model, Schedule(epochs=0, steps_per_epoch=0))
    with torch.no_grad():
        for gate in gates_of(model):
            gate.weight.zero_()
            gate.bias.copy_(torch.where(torch.arange(len(gate.bias)) < keep, 1.0, -1.0))
    return model.eval()


def test_a_users_gated_file_is_pulled_once_and_then_evaluated_with_its_gates(
    home: Path,
) -> None:
    from harness.checkpoints.network import load_model
    from harness.registry import load
    from harness.system.options import Options

    file = home / "model_best.pth.tar"
    model = gated_vgg(keep=7)
    torch.save({"epoch": 3, "acc": 50.0, "state_dict": export_paper_layout(model, "vgg")}, file)
    entry = load().get("ftwt-vgg16-bn-cifar10-0.85-decoupled")
    assert bench("pull", entry.id, "--from", file).exit_code == 0
    file.unlink()
    loaded, obtained = load_model(entry, Options(offline=True))
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))
    assert gates_of(loaded).active().unique().tolist() == [7]
    assert (obtained.source, obtained.stated["epoch"]) == ("file:model_best.pth.tar", 3)


def test_a_newer_file_of_the_user_replaces_the_older_one(home: Path) -> None:
    for keep in (3, 4):
        file = home / f"keep{keep}.pth.tar"
        torch.save({"state_dict": export_paper_layout(gated_vgg(keep), "vgg")}, file)
        pulled = bench("pull", "ftwt-vgg16-bn-cifar10-0.85-decoupled", "--from", file)
        assert pulled.exit_code == 0 and "given by hand" in pulled.stderr


def test_a_baseline_file_is_refused_for_a_gated_row(home: Path) -> None:
    file = home / "baseline.pth.tar"
    dense = build("vgg16_bn_cifar", num_classes=10, in_channels=3)
    torch.save({"state_dict": {f"module.{k}": v for k, v in dense.state_dict().items()}}, file)
    name = "ftwt-vgg16-bn-cifar10-0.85-decoupled"
    result = bench("reproduce", name, "--from", file, "--no-tracking")
    assert result.exit_code == 4
    assert "heads do not fit" in result.stderr and "baseline file has none" in result.stderr


def test_a_run_leaves_its_weights_in_a_plain_file_that_measures_the_same(home: Path) -> None:
    name = "local-gated"
    trained = bench(
        *("train", "--method", "ftwt", "--model", "convnet_tiny", "--dataset", "digits"),
        *("--set", "epochs=2", "--set", "selects=best", "--name", name, "--no-tracking"),
    )
    assert trained.exit_code == 0
    (result,) = load_all(entry=name)
    picture = paths.results_folder() / name / f"{result.result_id}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")  # the command hands in who draws it
    for epoch, figures in (("last", result.runs[0].figures), ("best", result.runs[0].best_figures)):
        target = home / f"{epoch}.safetensors"
        assert bench("export", name, target, "--epoch", epoch).exit_code == 0
        assert figures["flops_reduction_pct"] == reduction_of(target, result)
    refused = bench("export", name, home / "x.pth", "--to", "paper")
    assert refused.exit_code == 2 and "no layout" in refused.stderr


def reduction_of(file: Path, result: Result) -> float:
    from safetensors.torch import load_file

    from harness.data.batches import evaluation_batches
    from harness.registry import load

    model = build(result.model, num_classes=10, in_channels=1)
    FTWT(FTWTSettings()).attach(model, Schedule(epochs=0, steps_per_epoch=0))
    model.load_state_dict(load_file(file))
    batches = evaluation_batches(load().evaluations["digits"], None, "cpu", 364)
    images = [images for images, _ in batches]
    return FTWT.effective_macs(model.eval(), images).reported.reduction_pct


def test_export_names_what_is_missing(home: Path) -> None:
    nothing = bench("export", "local-nothing", home / "x.safetensors")
    assert nothing.exit_code == 2 and "no entry or run is called 'local-nothing'" in nothing.stderr


def test_an_estimate_keeps_everything_at_a_negative_mass_and_less_the_lower_it_is(
    home: Path,
) -> None:
    import json

    ran = bench(
        *("estimate", "dense-convnet-tiny-digits", "--method", "ftwt"),
        *("--masses=-1,1,0.9,0.5", "--images", 50, "--json"),
    )
    assert ran.exit_code == 0
    rows = json.loads(ran.stdout)
    assert [row["mass"] for row in rows] == [-1.0, 1.0, 0.9, 0.5]
    assert rows[0]["reported_reduction_pct"] == 0.0
    assert rows[0]["strict_reduction_pct"] == pytest.approx(-100 * HEAD_MACS / DENSE_MACS)
    reductions = [row["reported_reduction_pct"] for row in rows]
    assert reductions == sorted(reductions) and reductions[-1] > reductions[0]


def test_a_method_without_an_estimate_says_so(home: Path) -> None:
    ran = bench(
        "estimate",
        "dense-convnet-tiny-digits",
        "--method",
        "magnitude",
    )
    assert ran.exit_code == 2 and "estimates nothing before training" in ran.stderr


@pytest.mark.slow
def test_every_row_says_what_it_would_run_and_what_its_paper_leaves_open() -> None:
    from harness.registry import load

    entries = load().select(paper="ftwt")
    dynamic = [entry for entry in entries if entry.granularity == "dynamic"]
    assert (len(entries), len(dynamic)) == (20, 14)
    ran = bench("reproduce", *(entry.id for entry in entries), "--mode", "train", "--dry-run")
    assert ran.exit_code == 4 and "imagenet: not found below" in ran.stderr  # told all the same
    blocks = ran.stdout.split("entry      ")[1:]
    for entry, block in zip(entries, blocks, strict=True):
        assert block.startswith(f"{entry.id}\n")
        assert ("\nassumed " in block) == (entry.dataset == "imagenet")
        trains_first = entry in dynamic and "torchvision" not in block.partition("assumed")[0]
        assert (f"\nfirst      train {entry.baseline}:" in block) == trains_first
