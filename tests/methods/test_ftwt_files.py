"""Checkpoints in the layout of the paper's code."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.models.cifar_resnet import CifarResNet
from methods.base import Schedule
from methods.ftwt import FTWT, FTWTSettings
from methods.ftwt.paper_files import export_paper_layout, from_paper
from tests.methods.ftwt_fixtures import load, load_gated_file, paper_state, randomise, small_net

NETS = ("vgg", "resnet", "mobilenet")


def gated(model: nn.Module, seed: int = 0, **settings: object) -> nn.Module:
    FTWT(FTWTSettings(**settings)).attach(model, Schedule(1, 1, seed=seed))
    return model


@pytest.mark.parametrize("name", NETS)
def test_exported_names_and_shapes_are_the_official_ones(name: str) -> None:
    exported = export_paper_layout(gated(small_net(name)), name)
    shapes = {key.removeprefix("module."): value.shape for key, value in exported.items()}
    for key, value in paper_state(load(f"net_{name}"), "sd::").items():
        assert shapes.pop(key) == value.shape
    # The stored resnet leaves out the second copies, which the code writes.
    assert all("masked_conv" in key for key in shapes) and bool(shapes) == (name == "resnet")


@pytest.mark.parametrize("name", NETS)
def test_exported_file_loads_back_identically(name: str) -> None:
    source = gated(randomise(small_net(name), seed=1), seed=1)
    target = gated(randomise(small_net(name), seed=2), seed=2)
    file = {"epoch": 3, "acc": 0.5, "state_dict": export_paper_layout(source, name)}
    load_gated_file(target, file)
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value), key


def test_resnet56_file_has_772_keys_with_each_gate_beside_its_original() -> None:
    exported = export_paper_layout(gated(CifarResNet(56, "avgpool")), "resnet")
    assert len(exported) == 772
    assert sum("Mask" in key for key in exported) == 110
    for original, twin in (
        ("conv1.weight", "masked_conv.conv.weight"),
        ("layer2.3.bn2.bias", "layer2.3.masked_conv2.bn.bias"),
    ):
        assert exported[f"module.{original}"].data_ptr() == exported[f"module.{twin}"].data_ptr()


def test_baseline_file_loses_only_its_prefix() -> None:
    plain = small_net("vgg").state_dict()
    raw = {"state_dict": {f"module.{key}": value for key, value in plain.items()}}
    imported = FTWT.import_published(raw)
    assert list(imported) == list(plain)
    assert from_paper(raw).heads == {}


@pytest.mark.parametrize("name", NETS)
def test_gated_file_gives_a_plain_backbone(name: str) -> None:
    exported = export_paper_layout(gated(small_net(name)), name)
    small_net(name).load_state_dict(FTWT.import_published({"state_dict": exported}))


def test_missing_and_left_over_heads_are_refused() -> None:
    full = export_paper_layout(gated(small_net("vgg")), "vgg")
    fewer = gated(small_net("vgg"), exclude=("features.4",))
    with pytest.raises(ValueError, match=r"left over for \['features.4'\]"):
        load_gated_file(fewer, full)
    with pytest.raises(ValueError, match="missing for .*a baseline file has none"):
        load_gated_file(fewer, small_net("vgg").state_dict())
    with pytest.raises(ValueError, match="differs from here in .*features.4"):
        export_paper_layout(fewer, "vgg")
    full.pop("module.features.0.mask.model.1Conv2dMask.bias")
    with pytest.raises(ValueError, match="the file is damaged"):
        load_gated_file(fewer, full)


def test_backbone_key_too_many_is_refused() -> None:
    full = export_paper_layout(gated(small_net("vgg")), "vgg")
    full["module.extra.weight"] = torch.zeros(1)
    with pytest.raises(RuntimeError, match="extra.weight"):
        load_gated_file(gated(small_net("vgg")), full)


def test_other_dicts_are_refused() -> None:
    with pytest.raises(ValueError, match="not an FTWT checkpoint"):
        from_paper({"epoch": 3, "acc": 0.5})
