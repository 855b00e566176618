"""Networks that lose channels: what remains, what the file holds, who refuses."""

from __future__ import annotations

import builtins
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.checkpoints.narrowed import Origin, is_shrunk, load_shrunk, narrowed, save_narrowed
from harness.errors import CheckpointUnavailable, NotACheckpoint, ProtocolError
from harness.export import finished_run_folder, remove_channels_
from harness.models import build
from harness.results.store import save
from tests.support.results import made

torch_pruning = pytest.importorskip("torch_pruning")
SHAPES = {
    "convnet_tiny": (1, 1, 8, 8),
    "resnet20_projection": (1, 3, 32, 32),
    "mobilenetv1_cifar_050": (1, 3, 32, 32),
}


def noise(model: str) -> torch.Tensor:
    return torch.randn(SHAPES[model], generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("model", SHAPES)
def test_a_cut_network_comes_back_from_its_file_bit_for_bit(model: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = build(model).eval()
    widths = {n: m.out_channels for n, m in whole.named_modules() if isinstance(m, nn.Conv2d)}
    remove_channels_(whole, noise(model), 0.5)
    cut = whole
    for name, module in cut.named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.out_channels == widths[name] // 2
    file = tmp_path / "cut.safetensors"
    save_narrowed(cut, Origin(model), noise(model), file)
    assert is_shrunk(file)
    again = load_shrunk(str(file))
    with torch.inference_mode():
        assert torch.equal(again(noise(model)), cut(noise(model)))
    assert cut.state_dict().keys() == again.state_dict().keys()


def test_the_weakest_channels_go() -> None:
    network = build("convnet_tiny").eval()
    strong = [1, 3, 5, 7, 9, 11, 13, 15]
    with torch.no_grad():
        network.conv1.weight.fill_(0.01)
        network.conv1.weight[strong] = 1.0
        for module in network.modules():  # norms and readers count too: make them say nothing
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(1.0)
        network.conv2.weight.fill_(1.0)
    remove_channels_(network, noise("convnet_tiny"), 0.5)
    assert network.conv1.out_channels == 8
    assert (network.conv1.weight == 1.0).all()


def test_without_torch_pruning_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "torch_pruning":
            raise ModuleNotFoundError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ProtocolError, match=r"pip install 'reprune\[shrink\]'"):
        remove_channels_(build("convnet_tiny"), noise("convnet_tiny"), 0.5)


def test_a_layer_that_cannot_be_narrowed_is_named() -> None:
    weights = build("convnet_tiny").state_dict()
    weights["bn1.weight"] = torch.ones(3)
    with pytest.raises(RuntimeError, match="bn1"):
        narrowed(Origin("convnet_tiny"), weights)


def test_a_file_of_another_version_is_no_shrunk_network(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "old.safetensors"
    save_file({"a": torch.zeros(1)}, file, metadata={"narrowed": '{"version": 99}'})
    with pytest.raises(NotACheckpoint, match="another version"):
        load_shrunk(file)


def test_a_result_that_was_not_trained_here_has_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_HOME", str(tmp_path))
    file = save(made())
    for what in (file.stem, str(file)):
        with pytest.raises(CheckpointUnavailable, match="was not trained here"):
            finished_run_folder(what)
