"""`bench export`: files that other programs read, and reasons where they cannot."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import harness
from harness import paths
from harness.commands.export import _FORMS
from harness.errors import ProtocolError
from harness.export import NetworkName, about_network, find_network
from harness.export.libraries import library_state
from harness.export.weights import FORMS
from harness.models import build
from harness.registry import data_set, data_set_names, load, plain
from harness.system import Options
from tests.commands.conftest import Bench, document

ENTRY = "acdc-convnet-tiny-digits-90"
ATOL_ONNX = 1e-5  # another runtime sums in another order
ATOL_SAME = 1e-4  # of logits, as the export itself demands


def images(channels: int, side: int, n: int = 3) -> Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(1))


def answers(network: nn.Module, pictures: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = network.eval()(pictures)
    return found


def scrambled(name: str, classes: int) -> nn.Module:
    """A network whose norms are not at their start, so that no two layers answer alike."""
    torch.manual_seed(0)
    network = build(name, num_classes=classes)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
            nn.init.uniform_(module.weight, 0.8, 1.2)
    return network.eval()


def test_the_command_knows_every_form() -> None:
    assert set(_FORMS) == set(FORMS)


def test_published_weights_leave_as_safetensors(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "new" / "net.safetensors"
    done = bench("export", ENTRY, target, "--json")
    assert done.exit_code == 0, done.stderr
    told = document(done)
    assert (told["form"], told["entry"]) == ("safetensors", ENTRY)
    assert told["weights"].startswith("published, shipped:")
    expected = harness.load(ENTRY).state_dict()
    found = load_file(target)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_an_onnx_file_answers_as_torch_does_for_any_number_of_images(
    bench: Bench, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    target = tmp_path / "net.onnx"
    done = bench("export", ENTRY, target)
    assert done.exit_code == 0, done.stderr
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    for n in (1, 5):
        pictures = images(1, 8, n)
        [logits] = session.run(["logits"], {"images": pictures.numpy()})
        expected = answers(harness.load(ENTRY), pictures)
        assert torch.allclose(torch.from_numpy(logits), expected, atol=ATOL_ONNX)
    assert session.get_modelmeta().custom_metadata_map["reprune.entry"] == ENTRY


def test_a_sparse_file_starts_without_the_models_code(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "net.sparse"
    done = bench("export", ENTRY, target)
    assert done.exit_code == 0, done.stderr
    assert "harness.sparse.load('net.sparse')" in done.stdout
    network = harness.sparse.load(target)
    pictures = images(1, 8, 3)
    expected = answers(harness.load(ENTRY), pictures)
    assert torch.allclose(network(pictures), expected, atol=ATOL_SAME)


@pytest.mark.slow
def test_an_onnx_file_takes_the_pictures_that_the_network_is_evaluated_with(
    bench: Bench, tmp_path: Path
) -> None:
    """And not those of the size for which its package made it: 160 pixels for this one."""
    onnxruntime = pytest.importorskip("onnxruntime")
    network = scrambled("timm/test_resnet", 10)
    weights, target = tmp_path / "net.safetensors", tmp_path / "net.onnx"
    save_file(network.state_dict(), weights)
    named = ("--model", "timm/test_resnet", "--dataset", "cifar10", "--weights", weights)
    done = bench("export", *named, target)
    assert done.exit_code == 0, done.stderr
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    pictures = images(3, 32)
    [logits] = session.run(["logits"], {"images": pictures.numpy()})
    assert torch.allclose(torch.from_numpy(logits), answers(network, pictures), atol=ATOL_ONNX)


@pytest.mark.parametrize(("library", "name"), [("torchvision", "resnet18"), ("timm", "resnet18")])
def test_a_state_dict_loads_strictly_in_the_other_library(library: str, name: str) -> None:
    ours = scrambled(name, 10)
    state, call = library_state(ours, library, name, classes=10, channels=3)
    theirs: nn.Module = (
        torchvision.models.get_model(name, num_classes=10)
        if library == "torchvision"
        else timm.create_model(name, num_classes=10)
    )
    theirs.load_state_dict(state, strict=True)
    pictures = images(3, 64)
    assert torch.allclose(answers(theirs, pictures), answers(ours, pictures), atol=ATOL_SAME)
    assert name in call and "num_classes=10" in call


def test_an_own_network_is_written_under_the_other_librarys_names() -> None:
    ours = scrambled("mobilenetv1", 10)
    state, call = library_state(ours, "timm", "mobilenetv1", classes=10, channels=3)
    theirs = timm.create_model("mobilenetv1_100", num_classes=10)
    theirs.load_state_dict(state, strict=True)
    assert state.keys() != ours.state_dict().keys()
    pictures = images(3, 224, 1)
    assert torch.allclose(answers(theirs, pictures), answers(ours, pictures), atol=ATOL_SAME)


@pytest.mark.parametrize(
    ("library", "model", "channels", "reason"),
    [
        ("torchvision", "convnet_tiny", 3, "torchvision has no network like 'convnet_tiny'"),
        ("timm", "resnet20", 3, "timm has no network like 'resnet20'"),
        ("timm", "squeezenet1_1", 3, "timm has no network like 'squeezenet1_1'"),
        ("timm", "mobilenet_v2", 3, "timm has no network like 'mobilenet_v2'"),
        ("torchvision", "mobilenetv1", 3, "torchvision has no network like 'mobilenetv1'"),
        ("torchvision", "timm/resnet18", 3, "torchvision has no network like 'timm/resnet18'"),
        ("torchvision", "resnet18", 1, "reads pictures of 3 channels, this one of 1"),
    ],
)
def test_a_network_that_the_library_lacks_is_refused_with_the_reason(
    library: str, model: str, channels: int, reason: str
) -> None:
    network = build(model, num_classes=10, in_channels=channels).eval()
    with pytest.raises(ProtocolError, match=reason):
        library_state(network, library, model, 10, channels)


def test_the_same_layers_with_another_arithmetic_are_refused() -> None:
    network = scrambled("resnet18", 10)
    network.maxpool = nn.AvgPool2d(3, 2, 1)
    with pytest.raises(ProtocolError, match=r"computes something else \(logits differ by"):
        library_state(network, "torchvision", "resnet18", 10, 3)


def test_a_refused_export_writes_nothing(bench: Bench, tmp_path: Path) -> None:
    target = tmp_path / "net.pth"
    done = bench("export", ENTRY, target, "--to", "torchvision")
    assert done.exit_code == 2
    assert "torchvision has no network like 'convnet_tiny'" in done.stderr
    assert "--to safetensors or onnx" in done.stderr
    assert not target.exists()


def test_the_form_must_be_told_where_the_name_does_not(bench: Bench, tmp_path: Path) -> None:
    done = bench("export", ENTRY, tmp_path / "net.pth")
    assert done.exit_code == 2
    assert "--to safetensors|torchvision|timm|onnx|sparse|paper" in done.stderr


def test_a_run_leaves_in_every_form_it_has(bench: Bench, tmp_path: Path) -> None:
    trained = bench(
        *("train", "--method", "dense", "--model", "convnet_tiny", "--dataset", "digits"),
        *("--set", "epochs=1", "--name", "local-mine", "--no-tracking", "--seeds", 2),
    )
    assert trained.exit_code == 0, trained.stderr
    for seed in (0, 1):
        target = tmp_path / f"{seed}.safetensors"
        told = document(bench("export", "local-mine", target, "--seed", seed, "--json"))
        assert told["weights"].startswith(f"seed {seed}, last epoch of ")
    first, second = (load_file(tmp_path / f"{seed}.safetensors") for seed in (0, 1))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def says(metadata: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix("reprune."): text for name, text in metadata.items()}


def test_a_file_says_how_pictures_are_prepared_and_what_the_outputs_are_called(
    bench: Bench, tmp_path: Path
) -> None:
    """Read back by the libraries of the two formats, not by us."""
    onnx = pytest.importorskip("onnx")
    files = [tmp_path / "net.safetensors", tmp_path / "net.onnx"]
    for file in files:
        assert bench("export", ENTRY, file).exit_code == 0
    with safe_open(files[0], "pt") as opened:
        header = opened.metadata()
    model = onnx.load(files[1])
    props = {each.key: each.value for each in model.metadata_props}
    assert header["format"] == "pt"
    entry = load().get(ENTRY)
    protocol = load().evaluations[entry.evaluation]
    shipped = paths.shipped_checkpoints() / f"{ENTRY}.safetensors"
    for found in (says(header), says(props)):
        assert (found["entry"], found["model"]) == (ENTRY, "convnet_tiny")
        assert found["sha256"] == hashlib.sha256(shipped.read_bytes()).hexdigest()
        assert entry.checkpoint is not None and found["license"] == entry.checkpoint.license
        assert json.loads(found["class_names"]) == [str(digit) for digit in range(10)]
        assert json.loads(found["input_size"]) == [1, 8, 8]
        assert json.loads(found["mean"]) == list(protocol.mean)
        assert json.loads(found["std"]) == list(protocol.std)


def test_what_is_not_known_is_left_out(home: Path) -> None:
    entry = load().get(ENTRY)
    found = find_network(NetworkName(word=ENTRY), load(), Options(offline=True))
    nameless = replace(found, weights=replace(found.weights, dataset="flowers102", facts=None))
    about = says(about_network(nameless, load().evaluations[entry.evaluation]))
    assert not {"class_names", "sha256", "license", "resize"} & about.keys()


def test_what_a_folder_of_ones_own_is_called_goes_along(home: Path) -> None:
    protocol = load().evaluations["digits"]
    kept = {
        "evaluation": {**plain(protocol), "name": "mine", "dataset": "mine"},
        "recipe": "digits-short",
        "finetune": "digits-short",
        "title": "mine",
        "images": {"train": 3},
        "fingerprints": {},
        "classes": ["cat", "Straße", "dog"],
        "folder": "somewhere",
        "side": 8,
    }
    paths.own_datasets_folder().mkdir(parents=True)
    (paths.own_datasets_folder() / "mine.json").write_text(json.dumps(kept))
    assert data_set("mine").class_names() == ("cat", "Straße", "dog")


@pytest.mark.parametrize("name", [n for n in data_set_names() if n != "flowers102"])
def test_every_data_set_has_as_many_names_as_classes(name: str) -> None:
    names = data_set(name).class_names()
    assert len(names) == data_set(name).classes
    twice = {each for each in names if names.count(each) > 1}
    assert twice <= {"crane", "maillot"}  # of ImageNet: a bird and a machine, two garments
