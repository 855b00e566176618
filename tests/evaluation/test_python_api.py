"""The Python API, and published checkpoints on real data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import harness
from harness import registry
from harness.errors import CheckpointUnavailable, DataError, ProtocolError, RegistryError
from harness.evaluation.reproduce import reproduce_entry
from harness.results import as_json
from harness.results.schema import Result
from harness.results.store import load_all, predictions_sha256
from harness.system.options import Options
from tests.commands.conftest import ALWAYS, SPARSITY_PCT, acdc_file, tiny_registry
from tests.results.test_store import private

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def tiny(tmp_path: Path) -> dict[str, object]:
    """Keyword arguments that give the API a small entry and its file."""
    (tmp_path / "f.ckpt").write_bytes(acdc_file())
    file = tiny_registry(
        tmp_path,
        "https://gone.example/f",
        published=f'{{source: README, sparsity_pct: "{SPARSITY_PCT}"}}',
    )
    return {"from_file": tmp_path / "f.ckpt", "registries": [file]}


def test_load_returns_a_ready_module(tiny: dict[str, object]) -> None:
    model = harness.load("acdc-tiny-50", **tiny)  # type: ignore[arg-type]
    assert not model.training
    with torch.inference_mode():
        assert model(torch.rand(2, 1, 8, 8)).argmax(1).tolist() == [ALWAYS, ALWAYS]


def test_paths_may_be_given_as_text(tmp_path: Path, tiny: dict[str, object]) -> None:
    registries, file = [str(tmp_path / "acdc-tiny-50.yaml")], str(tmp_path / "f.ckpt")
    place = {"registries": registries, "data_root": str(tmp_path)}
    model = harness.load("acdc-tiny-50", from_file=file, **place)  # type: ignore[arg-type]
    assert not model.training
    result = harness.reproduce("acdc-tiny-50", limit=5, **place)  # type: ignore[arg-type]
    assert result.counts.n == 5


def test_reproduce_returns_the_judged_result_and_saves_it(
    tiny: dict[str, object], home: Path
) -> None:
    result = harness.reproduce("acdc-tiny-50", **tiny)  # type: ignore[arg-type]
    assert isinstance(result, Result)
    assert result.verdict.status == "exact"
    assert list(load_all()) == [result]
    assert private(json.loads(as_json(result))) == []
    [file] = home.glob("reports/results/acdc-tiny-50/*.npz")
    with np.load(file) as stored:
        assert stored["predictions"].tolist() == [ALWAYS] * 364
        assert predictions_sha256(stored["predictions"]) == result.predictions_sha256


def test_the_api_can_be_called_again_and_again(tiny: dict[str, object]) -> None:
    # A submodule of the same name would replace the function at its first import.
    harness.load("acdc-tiny-50", **tiny)  # type: ignore[arg-type]
    for _ in range(2):
        harness.reproduce("acdc-tiny-50", limit=5, **tiny)  # type: ignore[arg-type]
    assert callable(harness.reproduce) and callable(harness.load)


def test_a_problem_of_the_mirror_is_a_warning(
    tiny: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.warns(UserWarning, match="MLflow cannot be imported .* The result is saved"):
        result = harness.reproduce("acdc-tiny-50", track=True, **tiny)  # type: ignore[arg-type]
    assert list(load_all()) == [result]


def test_unknown_ids_are_refused_with_the_nearest() -> None:
    with pytest.raises(RegistryError, match="did you mean 'dense-resnet20-cifar10"):
        harness.load("dense-resnet20-cifar1O")
    with pytest.raises(RegistryError, match="no entry is called"):
        harness.reproduce("xyzzy")


def test_offline_asks_no_host_for_data_either(
    tiny: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*arguments: object, **options: object) -> None:
        raise AssertionError("a host was asked")

    monkeypatch.setattr("urllib.request.urlopen", asked)
    known = registry.load()
    (tmp_path / "data").mkdir()
    options = Options(data_root=tmp_path / "data", offline=True)
    from harness.evaluation.live_network import evaluate_model
    from harness.models import build
    from harness.results.schema import CheckpointFacts

    facts = CheckpointFacts(
        sha256="0" * 64, source="file:f", format="plain", size_bytes=1, license="local"
    )
    model = build("resnet20", num_classes=10)
    with pytest.raises(DataError, match="cifar10"):
        evaluate_model(known.get("dense-resnet20-cifar10"), known, model, facts, options)
    assert list(load_all()) == []


def test_a_missing_checkpoint_and_missing_data_are_told_together(tmp_path: Path) -> None:
    known = registry.load()
    options = Options(data_root=tmp_path, offline=True)
    with pytest.raises(CheckpointUnavailable) as caught:
        reproduce_entry(known.get("acdc-resnet50-90"), known, options)
    assert "Data set imagenet, too, is missing" in str(caught.value)
    # Data that is there is not complained about.
    (tmp_path / "imagenet" / "val").mkdir(parents=True)
    with pytest.raises(CheckpointUnavailable) as caught:
        reproduce_entry(known.get("acdc-resnet50-90"), known, options)
    assert "too, is missing" not in str(caught.value)


@pytest.mark.parametrize(("on", "kind"), [("cifar100", ProtocolError), ("emnist", RegistryError)])
def test_only_a_stand_in_stands_in(on: str, kind: type[Exception]) -> None:
    known = registry.load()
    with pytest.raises(kind, match=on):
        reproduce_entry(known.get("dense-resnet20-cifar10"), known, Options(dataset=on))


REAL = {  # id -> (status, a file it needs)
    "dense-resnet20-cifar10": ("exact", "akamaster-pytorch_resnet_cifar10/resnet20-12fca82f.th"),
    "snip-resnet20-cifar10-90-keras": (
        "claim contradicted",
        "bhartiansh-cnn_pruning_cifar10/pruned_resnet20_SNIP_sparsity_0.9.npz",
    ),
    "dense-resnet20-cifar10-woodfisher": (
        "ambiguous preprocessing",
        "ist-daslab-woodfisher/resnet20_cifar10.pth.tar",
    ),
    "filter-pruning-resnet20-cifar10-90.21": (
        "exact",
        "makhmoodsodikov-resnet20-filter-pruning/best_model_90.21.th",
    ),
}


def real_root(*below: str) -> Path:
    """The data root, or a skip that says what it lacks."""
    root = os.environ.get("BENCH_DATA_ROOT")
    if not root:
        pytest.skip("BENCH_DATA_ROOT is not set")
    for path in below:
        if not (Path(root) / path).exists():
            pytest.skip(f"{path} is not below BENCH_DATA_ROOT")
    return Path(root)


@pytest.mark.realdata
@pytest.mark.slow
@pytest.mark.parametrize("id", REAL)
def test_published_resnet20s_get_their_verdicts_on_the_real_test_set(id: str) -> None:
    status, file = REAL[id]
    root = real_root("cifar-10-batches-py", f"checkpoints/{file}")
    result = harness.reproduce(id, data_root=root)
    assert result.n_images == result.seen[0].n_total == 10_000
    assert result.verdict.status == status, result.verdict.reason
    assert private(json.loads(as_json(result))) == []


@pytest.mark.realdata
def test_the_file_of_the_sparsity_claim_holds_no_zeros() -> None:
    id = "snip-resnet20-cifar10-90-keras"
    root = real_root("cifar-10-batches-py", f"checkpoints/{REAL[id][1]}")
    result = harness.reproduce(id, data_root=root, limit=20)
    assert (result.cost.nnz, result.cost.total) == (270_896, 270_896)
    assert result.metrics["sparsity_pct"].status == "claim contradicted"
    assert result.metrics["top1_pct"].status == "smoke"
    assert result.verdict.status == "claim contradicted"  # whatever the images


@pytest.mark.realdata
def test_deep_compressions_squeezenet_is_a_third_dense_and_a_smoke_run() -> None:
    name = "checkpoints/songhan-squeezenet-deep-compression/compressed_SqueezeNet.net"
    root = real_root("imagenet-sample/val", name)
    result = harness.reproduce("deep-compression-squeezenet1.0", data_root=root, limit=4)
    assert result.cost.nnz / result.cost.total == pytest.approx(1 / 3, abs=0.01)
    assert result.verdict.status == "smoke"
    assert "sample pictures" in result.verdict.reason


@pytest.mark.realdata
def test_an_imagenet_entry_runs_on_the_sample(tmp_path: Path) -> None:
    from harness.models import build

    root = real_root("imagenet-sample/val")
    torch.save(build("resnet18").state_dict(), tmp_path / "own.pth")
    entry = registry.get("dense-resnet18-torchvision")
    known = registry.load()
    from dataclasses import replace

    assert entry.checkpoint is not None
    unpinned = replace(entry, checkpoint=replace(entry.checkpoint, sha256=None, size_bytes=None))
    options = Options(
        data_root=root, from_file=tmp_path / "own.pth", dataset="imagenet-sample", limit=2
    )
    result = reproduce_entry(unpinned, known, options)
    assert (result.data.dataset, result.n_images, result.verdict.status) == (
        "imagenet-sample",
        2,
        "smoke",
    )
    assert result.protocol.name == "imagenet-sample-224"
