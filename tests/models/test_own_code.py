"""Code of one's own: imported where it is typed, refused in one line everywhere else."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.errors import ProtocolError, RegistryError
from harness.models import build, fitted, import_typed, input_size, own_code, source_sha256

NETWORK = """
from torch import nn

WORD = "no class"


class Net(nn.Module):
    def __init__(self, num_classes=3, in_chans=3, width=4, bias=True):
        super().__init__()
        self.conv = nn.Conv2d(in_chans, width, 3, bias=bias)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.fc(self.conv(images).mean((2, 3)))


class Sized(nn.Module):
    def __init__(self, num_classes, image_size=10):
        super().__init__()
        self.fc = nn.Linear(image_size * image_size, num_classes)

    def forward(self, images):
        return self.fc(images[:, 0].flatten(1))


def seven():
    return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(7))


def lazy(num_classes=3):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def text():
    return "not a network"


def fails():
    return 1 / 0


def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(own_code, "_IMPORTED", {})
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "my_nets.py"
    path.write_text(NETWORK)
    return path


def test_a_file_is_known_by_its_name_without_folders_and_by_its_hash(file: Path) -> None:
    name = import_typed(f"{file}:Net")
    assert name == "my_nets.py:Net"
    assert source_sha256(name) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_classes_and_channels_are_handed_over_and_arguments_are_typed(file: Path) -> None:
    name = import_typed(f"{file}:Net")
    network = build(f"{name}(width=8, bias=False)", num_classes=5, in_channels=1)
    assert network.get_submodule("conv").weight.shape == (8, 1, 3, 3)
    assert network.get_submodule("conv").bias is None
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 5)


def test_a_module_in_the_current_folder_is_found(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    file.rename(file.with_name("nets_of_this_test.py"))
    name = import_typed("nets_of_this_test:Net")
    assert name == "nets_of_this_test:Net"
    assert isinstance(build(name), nn.Module)


def test_a_neighbour_of_the_file_can_be_imported(file: Path) -> None:
    file.with_name("neighbour_of_this_test.py").write_text("WIDTH = 6\n")
    with file.open("a") as opened:
        opened.write("from neighbour_of_this_test import WIDTH\n")
    assert import_typed(f"{file}:Net")


def test_code_that_nobody_typed_is_never_imported(file: Path) -> None:
    file.write_text("raise AssertionError('imported')")
    for name in (f"{file}:Net", "my_nets:Net", "os:system", "my_nets.py:Net(width=1)"):
        with pytest.raises(RegistryError, match=r"named on the command line: add --model"):
            build(name)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("{folder}/gone.py:Net", "there is no file .*gone.py"),
        ("no_such_module:Net", "No module named 'no_such_module'; a file is named with its ending"),
        ("{folder}/my_nets.py:Ned", "no class or function 'Ned'; it has Net"),
        ("{folder}/my_nets.py:WORD", "no class or function 'WORD'"),
        ("{folder}/my_nets.py:", "expected package.module:Class or path/to/file.py:Class"),
        (":Net", "expected package.module:Class"),
    ],
)
def test_what_cannot_be_imported_is_one_line(file: Path, typed: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message) as caught:
        import_typed(typed.format(folder=file.parent))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["import gone_package", "x = (", "1 / 0", "raise SystemExit(2)"])
def test_a_file_that_fails_is_one_line_with_the_error(file: Path, line: str) -> None:
    file.write_text(f"\n{line}\n")
    with pytest.raises(RegistryError, match=r"importing .*my_nets.py failed: \w+: ") as caught:
        import_typed(f"{file}:Net")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        ("text", "gives a str, not a torch.nn.Module"),
        ("fails", r"cannot be built: ZeroDivisionError: division by zero \(line \d+ of my_nets.py"),
        ("leaves", "cannot be built: SystemExit: 3"),
        ("lazy", "the size of 1.weight is left open until the first picture"),
        ("Net(depth=3)", "unexpected keyword argument 'depth'"),
    ],
)
def test_what_cannot_be_built_is_one_line(file: Path, builder: str, message: str) -> None:
    base, bracket, arguments = builder.partition("(")
    with pytest.raises(RegistryError, match=message):
        build(import_typed(f"{file}:{base}") + bracket + arguments)


def test_a_network_of_ones_own_states_no_picture_size(file: Path) -> None:
    with pytest.raises(RegistryError, match="Name a data set: --dataset NAME"):
        input_size(import_typed(f"{file}:Net"))


def test_the_picture_size_is_handed_over_only_where_it_is_needed(file: Path) -> None:
    import_typed(f"{file}:Net")
    name = import_typed(f"{file}:Sized")
    assert fitted("my_nets.py:Net(width=2)", (3, 32, 32), 10) == "my_nets.py:Net(width=2)"
    assert fitted(name, (3, 10, 10), 10) == name
    assert fitted(name, (3, 32, 32), 10) == f"{name}(image_size=32)"


def test_the_number_of_answers_must_be_that_of_the_classes(file: Path) -> None:
    name = import_typed(f"{file}:seven")
    assert fitted(name, (3, 4, 4), 7) == name
    with pytest.raises(ProtocolError, match=r"with \(2, 7\) in evaluation; .*needs \(2, 10\)"):
        fitted(name, (3, 4, 4), 10)


def test_fitting_leaves_the_global_generator_alone(file: Path) -> None:
    before = torch.get_rng_state()
    fitted(import_typed(f"{file}:Net"), (3, 32, 32), 10)
    assert torch.equal(torch.get_rng_state(), before)
