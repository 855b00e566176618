"""Real checkpoints of others go through the store and load strictly."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.checkpoints import load_into, obtain
from harness.checkpoints.squeezenet_net import layer_shapes
from harness.models import build
from tests.checkpoints.conftest import make_entry

pytestmark = pytest.mark.realdata

AKAMASTER = "akamaster-pytorch_resnet_cifar10"
KERAS = "bhartiansh-cnn_pruning_cifar10"
SQUEEZENET = "songhan-squeezenet-deep-compression/compressed_SqueezeNet.net"
FILES = [  # file, format, model, sha256, what the file states
    (
        f"{AKAMASTER}/resnet20-12fca82f.th",
        "plain",
        "resnet20",
        "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
        {"best_prec1": 91.78000183105469},
    ),
    (
        f"{AKAMASTER}/resnet56-4bfd9763.th",
        "plain",
        "resnet56",
        "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367",
        {"best_prec1": 93.62},
    ),
    (
        "makhmoodsodikov-resnet20-filter-pruning/best_model_90.21.th",
        "plain",
        "resnet20",
        "7dd8198c9d27f5236fbc61435fcbcdc25afbe5d51b368127251617088c72ba31",
        {"precision": 90.21},
    ),
    (
        "ist-daslab-woodfisher/resnet20_cifar10.pth.tar",
        "plain",
        "resnet20_projection",
        "e08b9b71ee33c3abad25588ed63999501673c02f7809364e27d965399e58bf8b",
        {"epoch": 136, "arch": "resnet20_cifar", "best_top1": 91.96},
    ),
    (
        f"{KERAS}/l1norm_resnet20_sparsity_0.9.npz",
        "keras-npz",
        "resnet20_keras",
        "90e567d8637972e19a78467e71b5bcdeba080f377bc7eedeacf35fd990f73c38",
        {},
    ),
    (
        "mlcommons-tiny-resnet8/pretrainedResnet.h5",
        "keras-h5",
        "resnet8_keras",
        "5f938a8eea605438cc7360aa13c987bc6d7bd0c8d931b2917361ae7ae4eeda2f",
        {},
    ),
    (
        SQUEEZENET,
        "squeezenet-net",
        "squeezenet1_0_caffe",
        "e4ab6960ae8cd81505e1c2136921201507e930966c53deaf15862a395b3a3261",
        {},
    ),
]


@pytest.fixture
def real() -> Path:
    root = os.environ.get("BENCH_DATA_ROOT")
    if not root or not (Path(root) / "checkpoints").is_dir():
        pytest.skip("BENCH_DATA_ROOT is not set or has no checkpoints/")
    return Path(root)


@pytest.mark.parametrize(
    ("file", "format", "model", "sha256", "stated"), FILES, ids=[f[0].split("/")[1] for f in FILES]
)
def test_published_file_fits_its_model(
    real: Path,
    home: Path,
    file: str,
    format: str,
    model: str,
    sha256: str,
    stated: dict[str, object],
) -> None:
    if format == "keras-h5":
        pytest.importorskip("h5py", reason="the extra `keras` is not installed")
    entry = make_entry(f"data:checkpoints/{file}", format=format, sha256=sha256)
    got = obtain(entry, data_root=real)
    net = build(model)
    load_into(net, got.tensors(), entry.id)
    assert got.stated == stated
    assert all(torch.isfinite(value).all() for value in got.tensors().values())


def slowly(data: bytes, layer: str) -> np.ndarray:
    """One layer of the .net file, read entry by entry as the format's description has it."""
    shapes = layer_shapes()
    counts = np.frombuffer(data, "<u4", len(shapes))
    at = counts.nbytes
    for (name, shape), n in zip(shapes.items(), counts.tolist(), strict=True):
        codes = at + 4 * 256 + 4 * shape[0]
        gaps = codes + n
        if name != layer:
            at = gaps + (n - 1) // 2 + 1
            continue
        codebook = np.frombuffer(data, "<f4", 256, at)
        flat, position = np.zeros(int(np.prod(shape)), np.float32), -1
        for k in range(n):
            pair = data[gaps + k // 2]
            position += (pair >> 4 if k % 2 else pair & 15) + 1
            flat[position] = codebook[data[codes + k]]
        return flat.reshape(shape)
    raise AssertionError(layer)


def test_squeezenet_is_decoded_like_its_description_and_is_truly_sparse(
    real: Path, home: Path
) -> None:
    entry = make_entry(f"data:checkpoints/{SQUEEZENET}", format="squeezenet-net")
    state = obtain(entry, data_root=real).tensors()
    data = (real / "checkpoints" / SQUEEZENET).read_bytes()
    layer = "fire9.conv3x3_2"
    assert np.array_equal(state[f"{layer}.weight"].numpy(), slowly(data, layer))
    weights = [value for name, value in state.items() if name.endswith(".weight")]
    total = sum(value.numel() for value in weights)
    assert total == 1_244_448
    density = sum(int(value.count_nonzero()) for value in weights) / total
    assert 0.32 < density < 0.34  # "about 33 % of weights kept"
