"""The errata page: written from what is stored, and every line of it known by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.registry import load
from harness.reports import all_derived, count_claims, errata_file, find_errata, write_errata

ROOT = Path(__file__).parent.parent.parent
REGISTRY = load()
# Row and figure -> what the specifications, the files or arithmetic say of it.
CANNOT_BE = {
    ("deep-compression-lenet300-mnist", "huffman weight bits"): "from 4.3 to 4.4",
    ("deep-compression-lenet5caffe-mnist", "huffman weight bits"): "from 4.5 to 7.2",
    ("deep-compression-lenet5caffe-mnist", "huffman weight bits of fc2"): "5 before it",
    ("str-resnet50-81", "params (M)"): "leaves 4.78 M, printed 4.47 M",
    ("deep-compression-resnet101-fashion-mnist-ipruning", "params (M)"): "19.21 M, printed 17.9",
    ("ipruning-alexnet-kmnist-pruned", "top-5 %"): "97.44, top5_pct as 97.02",
    ("ipruning-squeezenet1.1-kmnist-pruned", "top-5 %"): "97.41, top5_pct as 97.36",
    ("dense-alexnet-cifar10-ipruning", "params (M)"): "57.04 M, printed 57.4 M",
    ("deep-compression-resnet50-cifar100-ipruning", "params (M)"): "10.58 M, printed 10.8 M",
    ("ipruning-resnet50-cifar100-pruned", "params (M)"): "10.58 M, printed 10.8 M",
    ("deep-compression-resnet50-flowers102-ipruning", "params (M)"): "9.84 M, printed 9.4 M",
}
WITHOUT_ZEROS = {"snip", "magnitude", "onecycle"}  # of the Keras files that claim 90 %
PROGRAM = {
    ("ftwt-mobilenetv1-cifar10-1.00-decoupled", "FLOPs reduction %"): "13 depthwise layers",
    ("ftwt-mobilenetv1-cifar10-1.00-joint", "FLOPs reduction %"): "13 depthwise layers",
    ("ftwt-mobilenetv1-1.00-decoupled", "FLOPs reduction %"): "17,385,984 MACs",
    ("rd-resnet32-cifar10-95.5", "sparsity %"): "beyond 92.06 %",
    ("rd-vgg16-bn-cifar10-98.85", "sparsity %"): "beyond 83.97 %",
    ("rd-densenet121-cifar10-98.85", "sparsity %"): "beyond 92.39 %",
    ("rd-efficientnet-b0-cifar10-98.85", "sparsity %"): "beyond 89.62 %",
    ("rd-vgg16-bn-89.3", "sparsity %"): "beyond 25.72 %",
}


@pytest.fixture(autouse=True)
def project_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ships with the project, below a test's own empty home."""
    monkeypatch.setenv("BENCH_RECORD", str(ROOT / "reports"))


def items() -> dict[tuple[str, str, str], str]:
    found = find_errata(REGISTRY, count_claims(REGISTRY), all_derived(REGISTRY))
    return {(item.section, item.entry, item.figure): item.holds for item in found}


@pytest.mark.parametrize(("section", "known"), [("figure", CANNOT_BE), ("program", PROGRAM)])
def test_derived_errata_are_exactly_those_known(
    section: str, known: dict[tuple[str, str], str]
) -> None:
    mine = {key[1:]: holds for key, holds in items().items() if key[0] == section}
    assert set(mine) == set(known)
    for key, told in known.items():
        assert told in mine[key], key


@pytest.mark.parametrize("method", sorted(WITHOUT_ZEROS))
def test_files_without_zeros_are_named(method: str) -> None:
    holds = items()["file", f"{method}-resnet20-cifar10-90-keras", "sparsity %"]
    assert "90 % zeros claimed, 0.00 % found (270896/270896 non-zero)" in holds


def test_a_preprocessing_stated_twice_is_its_own_section() -> None:
    mine = {key[1:]: holds for key, holds in items().items() if key[0] == "stated"}
    (said,) = mine.values()
    assert set(mine) == {("dense-resnet20-cifar10-woodfisher", "top-1 %")}
    assert "cifar10 gives 53.55, cifar10-mfac gives 74.54" in said


def test_the_page_is_what_the_stored_records_give(tmp_path: Path) -> None:
    claims = count_claims(REGISTRY)
    found = find_errata(REGISTRY, claims, all_derived(REGISTRY))
    text = errata_file().read_text(encoding="utf-8")
    assert write_errata(REGISTRY, claims, tmp_path / "errata.md") == len(found)
    # Out of step? bench claims --errata reports/errata.md
    assert text == (tmp_path / "errata.md").read_text(encoding="utf-8")
    for item in found:
        assert f"`{item.command}`" in text
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| paper"):
            assert line.replace("\\|", "").count("|") == 7


def test_every_derivation_on_record_belongs_to_the_registry_of_today() -> None:
    stored = all_derived(REGISTRY)
    assert len(stored) > 100
