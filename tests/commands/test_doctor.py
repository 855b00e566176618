"""`bench doctor`: every finding with its remedy, even when torch itself is broken."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.maintenance import doctor
from harness.registry import data_set_names
from tests.commands.conftest import Bench, document


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing every package takes half a minute on a busy machine; two stand for all."""
    monkeypatch.setattr(doctor, "REQUIRED", ("torch", "safetensors"))


@pytest.mark.usefixtures("quick")
def test_every_data_set_is_found_or_missing_with_its_remedy(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "data" / "imagenet" / "val").mkdir(parents=True)
    done = bench("doctor", "--json")
    assert done.exit_code == 0
    found = {item["what"]: item for item in document(done)}
    assert found.keys() >= set(data_set_names())
    digits = found["digits"]
    assert digits["ok"] and not digits["required"] and digits["text"].startswith("found at ")
    assert found["imagenet"]["ok"]
    assert not found["cifar10"]["ok"]
    assert found["cifar10"]["text"].startswith("missing: ")
    assert "--data-root" in found["cifar10"]["text"]
    assert found["home"]["text"].startswith(str(tmp_path / "home"))


@pytest.mark.usefixtures("quick")
def test_decoded_pictures_are_told_with_their_size_and_folder(bench: Bench, home: Path) -> None:
    assert "cache" not in {item["what"] for item in document(bench("doctor", "--json"))}
    folder = home / "cache" / "pictures"
    for name in ("one/pixels.npy", "two/pixels.npy.part"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(bytes(30_000_000))
    [item] = [i for i in document(bench("doctor", "--json")) if i["what"] == "cache"]
    assert item["text"] == f"2 of pictures, 0.1 GB; to clear it, delete {folder}"


@pytest.mark.usefixtures("quick")
def test_a_home_that_cannot_be_written_is_a_finding(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = document(bench("doctor", "--json", BENCH_HOME=str(tmp_path / "file" / "home")))
    [home] = [item for item in found if item["what"] == "home"]
    assert not home["ok"] and "not writable: set BENCH_HOME elsewhere" in home["text"]


@pytest.mark.usefixtures("quick")
def test_the_screen_marks_what_is_wrong_and_fits(bench: Bench) -> None:
    lines = bench("doctor", COLUMNS="60").stdout.splitlines()
    # What is longer is one path or address, kept whole so that it can be copied.
    left = lines[0].index(platform.python_version())
    assert all(len(line) <= 60 or len(line[left:].split()) == 1 for line in lines)
    assert any(line.startswith("ok  digits") for line in lines)
    assert any(line.startswith("!!  cifar10") for line in lines)


def test_a_missing_package_exits_with_one_and_says_how_to_install(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", ("torch", "mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = bench("doctor", "--json")
    assert done.exit_code == 1
    [item] = [item for item in document(done) if item["what"] == "mlflow"]
    assert item["required"] and not item["ok"]
    assert "pip install -U mlflow" in item["text"]


@pytest.mark.parametrize(
    "raised",
    [
        RuntimeError("operator torchvision::nms does not exist"),
        AttributeError("partially initialized module 'torchvision' has no attribute 'extension'"),
    ],
)
def test_a_broken_pair_names_both_versions(raised: Exception) -> None:
    from harness.system import provenance

    told = provenance.broken_pair(raised)
    versions = provenance.versions()
    assert told == (
        f"torchvision {versions['torchvision']} was built for another torch than "
        f"{versions['torch']}. Reinstall the pair: pip install -U torch torchvision"
    )
    assert provenance.broken_pair(RuntimeError("CUDA out of memory")) is None


def test_a_torchvision_that_cannot_be_imported_is_a_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken:
        def find_spec(self, name: str, *rest: Any) -> None:
            if name == "torchvision":
                raise RuntimeError("operator torchvision::nms does not exist")

    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(doctor, "REQUIRED", ("torchvision",))
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    [found] = [f for f in doctor.examine_machine() if f.what == "torchvision"]
    assert not found.ok
    assert "was built for another torch than" in found.text


def test_without_torch_the_report_still_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", ("torch",))
    for name in [n for n in sys.modules if n.startswith("harness.data.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    found = {finding.what: finding for finding in doctor.examine_machine()}
    assert not found["torch"].ok
    assert "pip install -U torch" in found["torch"].text
    assert found["disk"].ok
