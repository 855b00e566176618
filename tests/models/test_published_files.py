"""Files published by others load strictly into the networks named after them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.models import build
from tests.models.support import load_arrays, on_meta

pytestmark = pytest.mark.realdata


def published(relative: str) -> Path:
    root = os.environ.get("BENCH_DATA_ROOT")
    if not root:
        pytest.skip("BENCH_DATA_ROOT is not set")
    path = Path(root) / "checkpoints" / relative
    if not path.is_file():
        pytest.skip(f"checkpoints/{relative} is not below BENCH_DATA_ROOT")
    return path


@pytest.mark.parametrize(
    ("relative", "name"),
    [
        ("akamaster-pytorch_resnet_cifar10/resnet20-12fca82f.th", "resnet20"),
        ("akamaster-pytorch_resnet_cifar10/resnet32-d509ac18.th", "resnet32"),
        ("akamaster-pytorch_resnet_cifar10/resnet44-014dd654.th", "resnet44"),
        ("akamaster-pytorch_resnet_cifar10/resnet56-4bfd9763.th", "resnet56"),
        ("makhmoodsodikov-resnet20-filter-pruning/best_model_90.21.th", "resnet20"),
        ("ist-daslab-woodfisher/resnet20_cifar10.pth.tar", "resnet20_projection"),
    ],
)
def test_torch_file_loads_strictly(relative: str, name: str) -> None:
    raw = torch.load(published(relative), map_location="cpu", weights_only=True)
    state = {key.removeprefix("module."): value for key, value in raw["state_dict"].items()}
    build(name).load_state_dict(state)


@pytest.mark.parametrize(
    "stem",
    ["baseline_resnet20", "pruned_resnet20_onecycle_sparsity_0.9", "l1norm_resnet20_sparsity_0.9"],
)
def test_keras_arrays_load_strictly(stem: str) -> None:
    with np.load(published(f"bhartiansh-cnn_pruning_cifar10/{stem}.npz")) as arrays:
        load_arrays(build("resnet20_keras"), dict(arrays))


def test_keras_file_has_the_tensors_of_resnet8_in_graph_order() -> None:
    h5py = pytest.importorskip("h5py")
    path = published("mlcommons-tiny-resnet8/pretrainedResnet.h5")
    with h5py.File(path) as file:
        graph = json.loads(file.attrs["model_config"])["config"]["layers"]
        weights = file["model_weights"]
        kernels = [
            weights[layer["name"]][layer["name"]]["kernel:0"].shape
            for layer in graph
            if layer["class_name"] in ("Conv2D", "Dense")
        ]
    layers = on_meta("resnet8_keras").modules()
    ours = [m.weight.shape for m in layers if isinstance(m, nn.Conv2d | nn.Linear)]
    # Keras keeps the output dimension last: (k, k, in, out) and (in, out).
    assert [(*shape[2:], shape[1], shape[0]) for shape in ours] == kernels


def test_squeezenet_has_the_graph_of_the_published_file() -> None:
    path = published("songhan-squeezenet-deep-compression/layers.json")
    graph = [g for g in json.loads(path.read_text()) if g["type"] == "Convolution"]
    convs = {
        n: m for n, m in on_meta("squeezenet1_0_caffe").named_modules() if isinstance(m, nn.Conv2d)
    }
    ours = [(n, list(m.weight.shape), m.stride[0], m.padding[0]) for n, m in convs.items()]
    theirs = [
        (g["name"].replace("/", "."), g["weight_shape"], g["stride"], g["pad"]) for g in graph
    ]
    assert ours == theirs
