"""Channels cut from networks of every kind: equal to zeros in their place, or left whole."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.checkpoints import Origin, load_shrunk, save_narrowed
from harness.errors import ProtocolError
from harness.export import channel_removal, remove_channels_
from harness.export.channel_removal import OUTPUTS, zero_columns_
from harness.models import build

pytest.importorskip("torch_pruning")
ORDER_OF_SUMS = 1e-5  # of float32 sums over some hundred terms, of outputs near 1


def images(side: int, channels: int = 3) -> torch.Tensor:
    return torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0))


def params(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


class Chain(nn.Module):
    """Two convolutions with a batch norm: small enough to cut by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.second, self.fc = nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.norm(self.first(x)).relu()).relu()
        return self.fc(x.mean((2, 3)))


def test_a_cut_network_gives_what_zeros_in_its_readers_give() -> None:
    torch.manual_seed(0)
    network = Chain().eval()
    whole = copy.deepcopy(network)
    removal = remove_channels_(network, images(12), 0.5)
    assert removal.cut == ("first", "second")
    assert removal.whole == {"fc": OUTPUTS}
    assert (network.first.out_channels, network.second.out_channels) == (4, 3)
    for layer, reader in ((whole.first, whole.second), (whole.second, whole.fc)):
        left = network.first.bias if layer is whole.first else network.second.bias
        assert layer.bias is not None and left is not None
        gone = [i for i, value in enumerate(layer.bias) if value not in left]  # told by its bias
        assert len(gone) == len(layer.bias) // 2
        zero_columns_(reader, torch.tensor(gone))
    with torch.no_grad():
        difference = (network(images(12)) - whole(images(12))).abs().max()
    assert float(difference) < ORDER_OF_SUMS


def test_columns_of_a_grouped_convolution_are_counted_over_all_groups() -> None:
    layer = nn.Conv2d(6, 4, 1, groups=2, bias=False)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    zero_columns_(layer, torch.tensor([1, 5]))
    assert layer.weight[:, :, 0, 0].tolist() == [[1, 0, 1], [1, 0, 1], [1, 1, 0], [1, 1, 0]]


@pytest.mark.parametrize(
    ("model", "side"),
    [
        ("timm/convnext_atto", 64),
        ("mnasnet0_5", 64),
        ("timm/vit_tiny_patch16_224(depth=2, img_size=32)", 32),
        ("timm/mixer_s32_224(img_size=64)", 64),
        ("resnet20", 32),  # shortcuts that pad channels
        ("regnet_y_400mf", 64),  # grouped convolutions, squeeze and excitation
    ],
)
def test_networks_of_all_families_lose_parameters_and_come_back_from_their_file(
    model: str, side: int, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = build(model).eval()
    before = params(network)
    removal = remove_channels_(network, images(side), 0.5)
    assert params(network) < before
    assert removal.cut
    file = tmp_path / "cut.safetensors"
    save_narrowed(network, Origin(model), images(side), file)
    with torch.no_grad():
        assert torch.equal(load_shrunk(file)(images(side)), network(images(side)))


def test_norms_over_channels_and_bare_parameters_stay_whole() -> None:
    network = build("timm/vit_tiny_patch16_224(depth=1, img_size=32)")
    removal = remove_channels_(network, images(32), 0.5)
    assert removal.cut == ("blocks.0.mlp.fc1",)
    assert set(removal.whole.values()) <= {
        OUTPUTS,
        "without them the outputs are others",  # of queries, keys and values
        "a parameter that belongs to no layer is added or multiplied",
        "LayerNorm mixes its channels",
    }


class Loud(nn.Module):
    """Its head compares the channels of its trunk: none can go without the others noticing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).mean((2, 3))
        return self.fc(x / x.abs().sum(1, keepdim=True))


def test_a_network_that_would_answer_otherwise_is_refused_and_left_as_it_was() -> None:
    network = Loud().eval()
    state = copy.deepcopy(network.state_dict())
    with pytest.raises(
        ProtocolError, match="cut from Loud: .*; without them the outputs are others"
    ):
        remove_channels_(network, images(8), 0.5)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert network.conv.out_channels == 8


@pytest.mark.parametrize("model", ["shufflenet_v2_x0_5"])
def test_what_the_library_cannot_follow_is_refused_with_its_reason(model: str) -> None:
    with pytest.raises(ProtocolError, match="torch-pruning cannot follow it: ZeroDivisionError"):
        remove_channels_(build(model), images(64), 0.5)


def test_a_wrong_group_is_undone_and_the_others_stay_cut() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.chain, self.loud = Chain(), Loud()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.chain(x).sum(1, keepdim=True) + self.loud(x)

    torch.manual_seed(0)
    removal = remove_channels_(Both().eval(), images(12), 0.5)
    assert removal.whole["loud.conv"] == "without them the outputs are others"
    assert {"chain.first", "chain.second"} <= set(removal.cut)


class Joined(nn.Module):
    """Two convolutions side by side: their channels are renumbered where they meet."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.last, self.fc = nn.Conv2d(8, 6, 3), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.left(x), self.right(x)], 1).relu()
        return self.fc(self.last(x).mean((2, 3)))


def test_joined_channels_are_cut_on_both_sides() -> None:
    removal = remove_channels_(network := Joined().eval(), images(12), 0.5)
    assert removal.cut == ("left", "right", "last")
    assert network.last.weight.shape == (3, 4, 3, 3)


def test_the_search_for_what_depends_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_removal, "MOST_FOLLOWED", 3)
    removal = remove_channels_(Joined().eval(), images(12), 0.5)
    assert removal.cut == ("last",)
    assert "finds no end of what depends" in removal.whole["left"]
