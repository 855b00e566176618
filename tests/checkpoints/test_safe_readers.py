"""Untrusted content: allow-lists hold, nothing runs, damaged files are named."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import warnings
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from harness.checkpoints import load_into, obtain, safe_readers
from harness.checkpoints.conversion import convert
from harness.checkpoints.file_formats import FORMATS, get
from harness.checkpoints.safe_readers import ACDC_GLOBALS, read_torch_zip
from harness.errors import (
    CheckpointUnavailable,
    KeyMismatch,
    NotACheckpoint,
    RegistryError,
    UnsafePickle,
)
from harness.registry.entries import FORMATS as REGISTRY_FORMATS
from harness.system import Reading
from tests.checkpoints.conftest import files_below, make_entry, saved, tiny_state
from tests.checkpoints.test_sniff import npz_of, zip_of


class Bait:
    """Unpickled without care, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


class Stranger:
    """A class no allow-list knows."""


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("format", ["plain", "acdc", "str", "ftwt", "rd"])
def test_malicious_pickle_is_refused_named_and_not_executed(
    home: Path, tmp_path: Path, format: str, legacy: bool
) -> None:
    trap = tmp_path / "executed"
    file = tmp_path / "evil.pth"
    file.write_bytes(saved({"state_dict": tiny_state(), "x": Bait(trap)}, legacy))
    with pytest.raises(
        UnsafePickle, match=r"'(posix|nt)\.mkdir'.*nothing was executed.*--from FILE"
    ):
        obtain(make_entry("data:f", format=format), from_file=file)
    assert not trap.exists()
    assert files_below(home) == []


def test_class_outside_the_allow_list_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(saved({"state_dict": tiny_state(), "x": Stranger()}))
    with pytest.raises(UnsafePickle, match="tests.checkpoints.test_safe_readers.Stranger"):
        read_torch_zip(tmp_path / "f")


HARMLESS = {
    "NumPy scalar": np.float64(0.5),
    "NumPy dtype": np.dtype("float32"),
    "NumPy random state": np.random.RandomState(0).get_state(),
    "NumPy generator": np.random.default_rng(0).bit_generator.state,
    "array of objects": np.array(["a"], object),
    "defaultdict": defaultdict(list, a=[1]),
    "counter": Counter("abc"),
    "namespace": argparse.Namespace(lr=0.1, out=Path("x") / "y"),
    "path": Path("some") / "where",
    "set": {1, 2},
    "bytes": b"abc",
    "complex": 1j,
    "device": torch.device("cuda:0"),
    "dtype": torch.bfloat16,
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", HARMLESS)
def test_harmless_things_beside_the_weights_do_not_matter(
    tmp_path: Path, kind: str, legacy: bool
) -> None:
    (tmp_path / "f").write_bytes(saved({"state_dict": tiny_state(), "x": HARMLESS[kind]}, legacy))
    made = convert(tmp_path / "f", None, Reading("plain"))
    assert torch.equal(made.tensors["fc.weight"], tiny_state()["fc.weight"])
    assert made.stated.keys() <= {"x"}


@pytest.mark.parametrize(
    "number", [np.float64(0.5), np.float32(0.5), np.int64(-3), np.uint8(7), np.bool_(True)]
)
def test_numpy_scalars_are_the_numbers_that_they_were(tmp_path: Path, number: np.generic) -> None:
    (tmp_path / "f").write_bytes(saved({"state_dict": tiny_state(), "x": number}))
    assert convert(tmp_path / "f", None, Reading("plain")).stated == {"x": number.item()}


def test_a_format_adds_its_own_globals_to_the_list(tmp_path: Path) -> None:
    scheduler = torch.optim.lr_scheduler.ExponentialLR(
        torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1), 0.9
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a state dict would be the better thing to save
        scheduler.__dict__ = {"gamma": 0.9}
        (tmp_path / "f").write_bytes(saved({"state_dict": tiny_state(), "x": scheduler}))
    with pytest.raises(UnsafePickle, match="ExponentialLR"):
        read_torch_zip(tmp_path / "f")
    assert read_torch_zip(tmp_path / "f", ACDC_GLOBALS).value["x"].state == {"gamma": 0.9}


def test_legacy_file_cut_in_the_middle_is_damaged(home: Path, tmp_path: Path) -> None:
    whole = saved(tiny_state(64), legacy=True)
    for length in (60, len(whole) // 2, len(whole) - 1):
        (tmp_path / "f").write_bytes(whole[:length])
        with pytest.raises(NotACheckpoint, match="damaged"):
            obtain(make_entry("data:f"), from_file=tmp_path / "f")
    assert files_below(home) == []


def test_content_without_tensors_is_no_checkpoint(home: Path, tmp_path: Path) -> None:
    for content in ([1, 2], {}, {"state_dict": {"a": 1}}):
        (tmp_path / "f").write_bytes(saved(content))
        with pytest.raises(NotACheckpoint, match="does not hold format 'plain'"):
            obtain(make_entry("data:f"), from_file=tmp_path / "f")
    assert files_below(home) == []


def npy(shape: str, data: bytes, descr: str = "<f4") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("member", "text"),
    [
        (npy("(1000000000000,)", bytes(8)), "2 values for shape"),
        (npy("(2,)", bytes(8), "|O"), "Python objects"),
        (npy("(3,)", bytes(9)), "damaged"),
        (b"junk", "damaged"),
    ],
    ids=["huge claim", "pickled objects", "cut off", "no header"],
)
def test_npz_members_are_checked_before_use(
    home: Path, tmp_path: Path, member: bytes, text: str
) -> None:
    (tmp_path / "f").write_bytes(zip_of(**{"a.npy": member}))
    with pytest.raises(NotACheckpoint, match=text):
        obtain(make_entry("data:f", format="keras-npz"), from_file=tmp_path / "f")
    assert files_below(home) == []


def test_npz_arrays_keep_names_values_and_order(home: Path, tmp_path: Path) -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"fc.weight": matrix, "f": np.asfortranarray(matrix), "n": np.array(3, np.int64)}
    (tmp_path / "f").write_bytes(npz_of(**arrays))
    got = obtain(make_entry("data:f", format="keras-npz"), from_file=tmp_path / "f").tensors()
    assert got.keys() == arrays.keys()
    assert all(np.array_equal(got[name].numpy(), array) for name, array in arrays.items())


def test_h5_that_points_outside_itself_is_refused(home: Path, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="the extra `keras` is not installed")
    (tmp_path / "secret").write_bytes(bytes(16))
    with h5py.File(tmp_path / "f", "w") as file:
        file.attrs["model_config"] = "{}"
        group = file.create_group("model_weights/conv2d/conv2d")
        outside = [(str(tmp_path / "secret"), 0, 16)]
        group.create_dataset("kernel:0", (4,), "f4", external=outside)
    with pytest.raises(NotACheckpoint, match="outside the file"):
        obtain(make_entry("data:f", format="keras-h5"), from_file=tmp_path / "f")
    assert files_below(home) == []


def test_the_process_that_reads_hdf5_starts_without_torch() -> None:
    pytest.importorskip("h5py", reason="the extra `keras` is not installed")
    code = "import sys, harness.checkpoints.h5_worker; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_hdf5_that_comes_to_no_end_is_given_up(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    h5py = pytest.importorskip("h5py", reason="the extra `keras` is not installed")
    with h5py.File(tmp_path / "f", "w") as file:
        file["model_weights/w"] = np.zeros(3, np.float32)
    monkeypatch.setattr(safe_readers, "H5_SECONDS", 0.001)
    with pytest.raises(NotACheckpoint, match="HDF5 comes to no end with it in 0.001 s"):
        obtain(make_entry("data:f", format="keras-h5"), from_file=tmp_path / "f")
    assert files_below(home) == []


def test_missing_h5py_is_one_line_that_says_what_to_install(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "f").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(CheckpointUnavailable, match=r"pip install 'reprune\[keras\]'") as caught:
        obtain(make_entry("data:f", format="keras-h5"), from_file=tmp_path / "f")
    assert "\n" not in str(caught.value)


def test_h5_of_another_model_is_no_checkpoint(home: Path, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="the extra `keras` is not installed")
    with h5py.File(tmp_path / "f", "w") as file:
        file.attrs["model_config"] = '{"config": {"layers": []}}'
        file.create_group("model_weights")
    with pytest.raises(NotACheckpoint, match="not a ResNet"):
        obtain(make_entry("data:f", format="keras-h5"), from_file=tmp_path / "f")


def test_safetensors_are_read_and_damage_is_named(home: Path, tmp_path: Path) -> None:
    entry = make_entry("data:f", format="safetensors")
    whole = save(tiny_state())
    (tmp_path / "f").write_bytes(whole[:-4])
    with pytest.raises(NotACheckpoint, match="damaged"):
        obtain(entry, from_file=tmp_path / "f")
    (tmp_path / "f").write_bytes(whole)
    assert torch.equal(obtain(entry, from_file=tmp_path / "f").tensors()["fc.bias"], torch.ones(4))


def test_registry_and_store_know_the_same_formats() -> None:
    assert tuple(FORMATS) == REGISTRY_FORMATS
    with pytest.raises(RegistryError, match="pickle.*safetensors"):
        get("pickle")


def tiny_model() -> nn.Module:
    return nn.ModuleDict({"fc": nn.Linear(4, 4), "bn": nn.BatchNorm1d(4)})


def test_strict_load_shows_three_names_of_each_kind() -> None:
    state = dict(tiny_model().state_dict())
    for name in ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"):
        state[f"old.{name}"] = state.pop(name)
    state["fc.weight"] = torch.zeros(4, 5)
    with pytest.raises(KeyMismatch) as caught:
        load_into(tiny_model(), state, "dense-tiny")
    text = str(caught.value)
    assert "4 missing (bn.weight, bn.bias, bn.running_mean, and 1 more)" in text
    assert "4 unexpected (old.bn.weight, old.bn.bias, old.bn.running_mean, and 1 more)" in text
    assert "1 shapes (fc.weight is (4, 5), the model has (4, 4))" in text
    assert text.startswith("dense-tiny: ")


def test_mismatch_leaves_the_model_as_it_was() -> None:
    model = tiny_model()
    before = model.get_parameter("fc.weight").clone()
    with pytest.raises(KeyMismatch):
        load_into(model, {"fc.weight": torch.zeros(4, 4)}, "dense-tiny")
    assert torch.equal(model.get_parameter("fc.weight"), before)


def test_files_without_batch_norm_counters_load() -> None:
    source, target = tiny_model(), tiny_model()
    state = {k: v for k, v in source.state_dict().items() if "num_batches" not in k}
    load_into(target, state, "dense-tiny")
    assert torch.equal(target.get_parameter("fc.weight"), source.get_parameter("fc.weight"))
