"""Layouts of the papers' code -> plain names, exactly."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.checkpoints import keras_h5, obtain, squeezenet_net
from harness.checkpoints.conversion import convert
from harness.errors import KeyMismatch, NotACheckpoint
from harness.system import Reading
from methods import published_formats as published
from tests.checkpoints.conftest import files_below, make_entry, saved

FIXTURES = Path(__file__).parent.parent / "fixtures"


def assert_same(got: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> None:
    """Equal names, shapes, types and values, bit for bit up to the sign of zero."""
    assert sorted(got) == sorted(wanted)
    for name, value in wanted.items():
        assert got[name].dtype == torch.as_tensor(value).dtype, name
        assert torch.equal(got[name], torch.as_tensor(value)), name


@pytest.mark.parametrize("name", ["ckpt_sparse_dataparallel", "ckpt_dense_neverpruned"])
def test_acdc_file_of_the_original_saver_is_exact(home: Path, name: str) -> None:
    file = FIXTURES / "acdc" / f"{name}.ckpt"
    arrays = np.load(FIXTURES / "acdc" / f"{name}_expected.npz")
    wanted = {k.removeprefix("state/"): arrays[k] for k in arrays.files if k.startswith("state/")}
    got = obtain(make_entry("data:f", format="acdc"), from_file=file)
    assert_same(got.tensors(), wanted)
    assert {"epoch", "model_config.arch"} <= got.stated.keys()
    for key in (k for k in arrays.files if k.startswith("mask/")):
        pruned = torch.as_tensor(arrays[key]) == 0
        assert not got.tensors()[key.removeprefix("mask/")][pruned].any()


def test_acdc_weights_outside_the_mask_become_zero() -> None:
    state = {
        "module.module.x._weight_mask": torch.tensor([[1.0, 0.0]]),
        "module.module.x._layer.weight": torch.tensor([[3.0, float("nan")]]),
    }
    got = published.acdc({"model_state_dict": state})
    assert_same(got, {"module.x.weight": torch.tensor([[3.0, 0.0]])})


def masked_layer(weight: Tensor, mask: Tensor, format: str) -> dict[str, Tensor]:
    names = {
        "acdc": ("x._layer.weight", "x._weight_mask"),
        "rd": ("x.weight_orig", "x.weight_mask"),
    }
    return dict(zip(names[format], (weight, mask), strict=True))


@pytest.mark.parametrize("format", ["acdc", "rd"])
@pytest.mark.parametrize(
    ("mask", "kind"),
    [(torch.tensor([1.0, 0.5]), NotACheckpoint), (torch.ones(3), KeyMismatch)],
    ids=["not 0/1", "other shape"],
)
def test_masks_that_cannot_be_are_refused(
    home: Path, tmp_path: Path, format: str, mask: Tensor, kind: type[Exception]
) -> None:
    (tmp_path / "f").write_bytes(saved(masked_layer(torch.ones(2), mask, format)))
    with pytest.raises(kind, match=r"dense-tiny: .*x\.weight"):
        obtain(make_entry("data:f", format=format), from_file=tmp_path / "f")
    assert files_below(home) == []


@pytest.mark.parametrize("format", ["acdc", "rd"])
def test_mask_and_weight_come_in_pairs(format: str) -> None:
    for name in masked_layer(torch.ones(2), torch.ones(2), format):
        if name.endswith("_layer.weight"):
            continue  # an unmasked layer is fine in AC/DC
        with pytest.raises(published.PublishedFormatError, match="weight"):
            getattr(published, format)({name: torch.ones(2)})


def str_fixture(prefix: str) -> dict[str, Tensor]:
    arrays = np.load(FIXTURES / "str" / "convert_and_budget.npz")
    names = [k for k in arrays.files if k.startswith(prefix)]
    return {k.removeprefix(prefix): torch.as_tensor(arrays[k]) for k in names}


def str_wanted() -> dict[str, Tensor]:
    plain = {k.removeprefix("module."): v for k, v in str_fixture("dense__").items()}
    plain["fc.weight"] = plain["fc.weight"].reshape(10, 16)
    return plain | {"fc.bias": torch.zeros(10)}


def test_str_native_and_converted_files_give_the_same_net(home: Path, tmp_path: Path) -> None:
    lr = np.float64(0.1)  # the cosine schedule's rate, as training files hold it
    native = {"epoch": 99, "state_dict": str_fixture("str__"), "optimizer": {"lr": lr}}
    for content, legacy in ((native, True), ({"state_dict": str_fixture("dense__")}, False)):
        (tmp_path / "f").write_bytes(saved(content, legacy))
        tensors = convert(tmp_path / "f", None, Reading("str")).tensors
        assert_same(tensors, str_wanted())


def test_bare_state_dict_states_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(saved({"bn.num_batches_tracked": torch.tensor(5)}))
    made = convert(tmp_path / "f", None, Reading("plain"))
    tensors, stated = made.tensors, made.stated
    assert (list(tensors), stated) == (["bn.num_batches_tracked"], {})


def test_str_ignores_the_second_copy_of_old_files() -> None:
    state = str_fixture("str__")
    state["module.conv1.sparseWeight"] = torch.full_like(state["module.conv1.weight"], 9.0)
    assert_same(published.str_({"state_dict": state}), str_wanted())


def test_str_arithmetic_is_float32_also_for_half_precision_files() -> None:
    raw = {
        "x.weight": torch.tensor([[1.0, -1.0]]).half(),
        "x.sparseThreshold": torch.tensor([[-9.0]]),
    }
    wanted = (1 - torch.sigmoid(torch.tensor(-9.0))).item()
    assert published.str_(raw)["x.weight"].tolist() == [[wanted, -wanted]]


def test_str_threshold_without_weight_is_refused() -> None:
    with pytest.raises(published.PublishedFormatError, match="x.sparseThreshold has no weight"):
        published.str_({"x.sparseThreshold": torch.zeros(1, 1)})


FTWT_NETS = {  # fixture -> (a gated convolution's plain name, its name in the file)
    "net_vgg": ("features.4", "features.2.conv"),
    "net_mobilenet": ("model.13.3", "model.26.conv"),
    "net_resnet": ("layer2.0.conv2", "layer2.0.conv2"),
}


@pytest.mark.parametrize("name", FTWT_NETS)
def test_ftwt_backbone_and_heads_are_kept_apart(home: Path, tmp_path: Path, name: str) -> None:
    arrays = np.load(FIXTURES / "ftwt" / f"{name}.npz")
    names = [k for k in arrays.files if k.startswith("sd::")]
    state = {"module." + k.removeprefix("sd::"): torch.as_tensor(arrays[k]) for k in names}
    (tmp_path / "f").write_bytes(saved({"state_dict": state, "best_acc": 93.5}))
    got = obtain(make_entry("data:f", format="ftwt"), from_file=tmp_path / "f")
    plain, stored_as = FTWT_NETS[name]
    assert torch.equal(got.tensors()[f"{plain}.weight"], state[f"module.{stored_as}.weight"])
    assert not [k for k in got.tensors() if "mask" in k.lower()]
    heads = [k for k in state if "Mask" in k]
    assert len(got.heads()) == len(heads)
    assert {k.rpartition(".")[0] + ".weight" for k in got.heads()} <= got.tensors().keys()
    assert got.heads()[f"{plain}.weight"].ndim == 2
    assert len(got.tensors()) + len(heads) == len(state)
    assert got.stated == {"best_acc": 93.5}


def test_rd_classifiers_become_linear_layers() -> None:
    state = {
        "fc.weight_orig": torch.arange(6.0).view(2, 3, 1, 1),
        "fc.weight_mask": torch.tensor([1.0, 0, 1, 0, 1, 1]).view(2, 3, 1, 1),
        "classifier.0.weight": torch.arange(8.0).view(1, 2, 2, 2),
        "conv1.weight": torch.ones(1, 2, 1, 1),
    }
    wanted = {
        "fc.weight": torch.tensor([[0.0, 0, 2], [0, 4, 5]]),
        "classifier.0.weight": torch.arange(8.0).view(1, 8),
        "conv1.weight": torch.ones(1, 2, 1, 1),
    }
    assert_same(published.rd(state), wanted)


def test_rd_cifar_resnet18_takes_torchvision_names() -> None:
    one = torch.ones(1)
    state = {"layer2.0.shortcut.0.weight": one, "linear.bias": one}
    assert_same(published.rd(state), {"layer2.0.downsample.0.weight": one, "fc.bias": one})
    assert_same(published.rd({"linear.bias": one}), {"linear.bias": one})  # DenseNet keeps its name


def conv(name: str, kernel: int, before: str) -> dict[str, Any]:
    config = {"name": name, "kernel_size": [kernel, kernel]}
    return {"class_name": "Conv2D", "config": config, "inbound_nodes": [[[before, 0, 0, {}]]]}


def test_keras_layers_are_named_by_their_place_in_the_graph() -> None:
    norm = {"class_name": "BatchNormalization", "config": {"name": "n"}}
    dense = {"class_name": "Dense", "config": {"name": "d"}}
    layers = [
        conv("a", 3, "input"),
        conv("b", 3, "a"),
        norm | {"inbound_nodes": [[["b", 0, 0, {}]]]},
        conv("s", 1, "a"),
        conv("c", 3, "n"),
        dense,
    ]
    kernel = np.arange(2 * 3 * 5 * 7, dtype=np.float32).reshape(2, 3, 5, 7)
    weights = {name: {"kernel": kernel} for name in "abcs"}
    weights |= {"n": {"gamma": np.ones(2, np.float32)}, "d": {"kernel": kernel[0, 0]}}
    got = keras_h5.resnet({"config": {"config": {"layers": layers}}, "weights": weights})
    assert list(got) == [
        "conv1.weight",
        "layer1.0.conv1.weight",
        "layer1.0.bn1.weight",
        "layer1.0.shortcut.weight",
        "layer1.0.conv2.weight",
        "fc.weight",
    ]
    assert got["conv1.weight"].shape == (7, 5, 2, 3)
    assert got["conv1.weight"][6, 4, 1, 2] == kernel[1, 2, 4, 6]
    assert torch.equal(got["fc.weight"], torch.as_tensor(kernel[0, 0].T.copy()))


def keras_layer(kind: str, name: str, before: str | None = None) -> dict[str, Any]:
    node = [] if before is None else [[[before, 0, 0, {}]]]
    return {"class_name": kind, "config": {"name": name}, "inbound_nodes": node}


def test_a_chain_of_keras_layers_keeps_its_outputs() -> None:
    """Against the definition, channels last: every output by hand, one position at a time."""
    draw = np.random.default_rng(0)
    image = draw.normal(size=(5, 6, 2)).astype(np.float32)
    kernel = draw.normal(size=(3, 3, 2, 4)).astype(np.float32)
    matrix = draw.normal(size=(3 * 4 * 4, 7)).astype(np.float32)
    layers = [
        keras_layer("InputLayer", "i"),
        keras_layer("Conv2D", "c", "i"),
        keras_layer("DynamicPolyActn_D2", "p", "c"),
        keras_layer("Flatten", "f", "p"),
        keras_layer("Dense", "d", "f"),
        keras_layer("Dense", "e", "d"),
    ]
    second = draw.normal(size=(7, 3)).astype(np.float32)
    weights = {"c": {"kernel": kernel}, "p": {"kernel": np.ones(3, np.float32)}}
    weights |= {"d": {"kernel": matrix}, "e": {"kernel": second}}
    got = keras_h5.chain({"config": {"config": {"layers": layers}}, "weights": weights})
    assert list(got) == ["conv1.weight", "poly1.coefficients", "fc1.weight", "fc2.weight"]
    maps = np.zeros((3, 4, 4))
    for y, x in np.ndindex(3, 4):
        maps[y, x] = np.tensordot(image[y : y + 3, x : x + 3], kernel, 3)
    wanted = maps.reshape(-1) @ matrix @ second
    ours = torch.conv2d(torch.tensor(image.transpose(2, 0, 1))[None], got["conv1.weight"])
    answer = ours.flatten(1) @ got["fc1.weight"].T @ got["fc2.weight"].T
    assert np.allclose(answer.numpy()[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([keras_layer("LSTM", "l")], "l is a LSTM, which is not read here"),
        (
            [keras_layer("InputLayer", "i"), keras_layer("Conv2D", "c", "elsewhere")],
            "c follows elsewhere: no chain of layers",
        ),
    ],
)
def test_a_keras_graph_that_is_no_chain_is_refused(layers: list[Any], said: str) -> None:
    with pytest.raises(published.PublishedFormatError, match=said):
        keras_h5.chain({"config": {"config": {"layers": layers}}, "weights": {}})


def test_a_masked_perceptron_is_multiplied_and_transposed() -> None:
    state = {
        "mask": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
        "W_0": torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        "b_0": torch.tensor([7.0, 8.0]),
        "W_1": torch.tensor([[9.0], [10.0]]),
        "b_1": torch.tensor([11.0]),
    }
    wanted = {
        "fc1.weight": torch.tensor([[1.0, 0.0, 5.0], [0.0, 4.0, 6.0]]),
        "fc1.bias": state["b_0"],
        "fc2.weight": torch.tensor([[9.0, 10.0]]),
        "fc2.bias": state["b_1"],
    }
    assert_same(published.masked_mlp(state), wanted)
    with pytest.raises(published.PublishedFormatError, match="not mask, W_0, b_0"):
        published.masked_mlp({"W_0": state["W_0"], "b_0": state["b_0"]})


def net_file(counts: Mapping[str, int], low: int = 0, high: int = 0) -> bytes:
    """A SqueezeNet file whose layers store so many entries of code 1; gaps low, high, low, ..."""
    shapes = squeezenet_net.layer_shapes()
    header, body = b"", b""
    for name, shape in shapes.items():
        n = counts.get(name, 0)
        header += struct.pack("<I", n)
        codebook = np.zeros(256, "<f4")
        codebook[1] = 2.5
        bias = np.arange(shape[0], dtype="<f4")
        body += codebook.tobytes() + bias.tobytes() + b"\1" * n
        body += bytes([low | high << 4]) * ((n + 1) // 2)
    return header + body


@given(n=st.integers(0, 9), low=st.integers(0, 15), high=st.integers(0, 15))
@settings(deadline=None, max_examples=10, derandomize=True)
def test_net_entries_land_where_their_gaps_say(n: int, low: int, high: int) -> None:
    state = squeezenet_net.decode(net_file({"fire4.conv3x3_2": n}, low, high))
    weight = state["fire4.conv3x3_2.weight"]
    assert weight.shape == (128, 32, 3, 3)
    positions, position = [], -1
    for k in range(n):
        position += 1 + (high if k % 2 else low)
        positions.append(position)
    assert weight.flatten().nonzero().flatten().tolist() == positions
    assert weight.max() == (2.5 if n else 0)
    assert state["fire4.conv3x3_2.bias"].tolist() == list(range(128))
    assert not state["conv1.weight"].any()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (net_file({})[:50], "ends inside header"),
        (net_file({"conv_final": 5})[:-1], "ends inside conv_final"),
        (net_file({}) + b"\0", "1 bytes follow"),
        (net_file({"fire2.conv1x1_1": 1537}), "beyond 1536 weights"),
    ],
    ids=["no header", "cut off", "too long", "outside"],
)
def test_impossible_net_files_are_refused(
    home: Path, tmp_path: Path, data: bytes, text: str
) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(NotACheckpoint, match=text):
        obtain(make_entry("data:f", format="squeezenet-net"), from_file=tmp_path / "f")
    assert files_below(home) == []
