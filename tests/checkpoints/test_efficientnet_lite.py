"""EfficientNet-Lite0 in its port's names: loads strictly, and computes what the names say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from harness import registry
from harness.checkpoints import load_into, obtain
from harness.checkpoints.efficientnet_lite import lite0
from harness.data.batches import evaluation_batches
from harness.errors import KeyMismatch, NotACheckpoint
from harness.models import build
from methods.published_formats import PublishedFormatError
from tests.checkpoints.conftest import files_below, make_entry, saved

ENTRY = "dense-efficientnet-lite0"
PARAMS = 4_652_008
ATOL_LOGITS = 1e-4  # order of summation through 50 layers; logits are of the order of 1
# (expansion, input, output, kernel, stride of the first, blocks) per stage, from the description
STAGES = [
    (1, 32, 16, 3, 1, 1),
    (6, 16, 24, 3, 2, 2),
    (6, 24, 40, 5, 2, 2),
    (6, 40, 80, 3, 2, 3),
    (6, 80, 112, 5, 1, 3),
    (6, 112, 192, 5, 2, 4),
    (6, 192, 320, 3, 1, 1),
]


def blocks() -> list[tuple[int, int, int, int, int]]:
    """(expansion, input, output, kernel, stride) of the 16 blocks."""
    return [
        (expansion, width if i == 0 else out, out, kernel, stride if i == 0 else 1)
        for expansion, width, out, kernel, stride, count in STAGES
        for i in range(count)
    ]


def synthetic() -> dict[str, Tensor]:
    """A state dict as the port would save it: random, with norms that differ from each other."""
    rng = torch.Generator().manual_seed(0)
    state: dict[str, Tensor] = {}

    def conv(name: str, out: int, width: int, kernel: int) -> None:
        fan_in = width * kernel * kernel
        shape = (out, width, kernel, kernel)
        state[f"{name}.weight"] = torch.randn(shape, generator=rng) * (2 / fan_in) ** 0.5

    def norm(name: str, width: int) -> None:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{leaf}"] = torch.rand(width, generator=rng) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    for number, (expansion, width, out, kernel, _) in enumerate(blocks()):
        at, wide = f"_blocks.{number}", width * expansion
        if expansion > 1:
            conv(f"{at}._expand_conv", wide, width, 1)
            norm(f"{at}._bn0", wide)
        conv(f"{at}._depthwise_conv", wide, 1, kernel)
        norm(f"{at}._bn1", wide)
        conv(f"{at}._project_conv", out, wide, 1)
        norm(f"{at}._bn2", out)
    conv("_conv_head", 1280, 320, 1)
    norm("_bn1", 1280)
    state["_fc.weight"] = torch.randn(1000, 1280, generator=rng) / 1280**0.5
    state["_fc.bias"] = torch.randn(1000, generator=rng)
    return state


def forward(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Logits by the description alone: TensorFlow's `same` padding, ReLU6, norms of eps 1e-3."""

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        kernel, side = weight.shape[-1], x.shape[-1]
        pad = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        x = F.pad(x, (pad // 2, pad - pad // 2, pad // 2, pad - pad // 2))
        return F.conv2d(x, weight, stride=stride, groups=x.shape[1] // weight.shape[1])

    def norm(x: Tensor, name: str) -> Tensor:
        gamma, beta, mean, var = (
            state[f"{name}.{leaf}"].view(1, -1, 1, 1)
            for leaf in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + 1e-3).sqrt() * gamma + beta

    x = norm(conv(x, "_conv_stem", 2), "_bn0").clamp(0, 6)
    for number, (expansion, width, out, _, stride) in enumerate(blocks()):
        at, before = f"_blocks.{number}", x
        if expansion > 1:
            x = norm(conv(x, f"{at}._expand_conv"), f"{at}._bn0").clamp(0, 6)
        x = norm(conv(x, f"{at}._depthwise_conv", stride), f"{at}._bn1").clamp(0, 6)
        x = norm(conv(x, f"{at}._project_conv"), f"{at}._bn2")
        x = x + before if stride == 1 and width == out else x
    x = norm(conv(x, "_conv_head"), "_bn1").clamp(0, 6)
    return x.mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]


def test_converted_network_computes_what_the_description_says() -> None:
    state = synthetic()
    net = build("tf_efficientnet_lite0").eval()
    load_into(net, lite0({f"module.{name}": value for name, value in state.items()}), ENTRY)
    assert sum(p.numel() for p in net.parameters()) == PARAMS
    images = torch.randn(1, 3, 61, 61, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        difference = (net(images) - forward(state, images)).abs().max()
    assert difference < ATOL_LOGITS


def test_conversion_renames_and_changes_nothing_else() -> None:
    state = synthetic()
    plain = lite0(state)
    assert list(map(id, plain.values())) == list(map(id, state.values()))
    assert len(plain) == len(state)


@pytest.mark.parametrize(
    "name",
    [
        "_blocks.16._bn1.weight",
        "_blocks.0._expand_conv.weight",
        "_blocks.3._se_reduce.weight",
        "_blocks.x._bn1.weight",
        "conv1.weight",
    ],
)
def test_names_of_another_network_are_refused(name: str) -> None:
    with pytest.raises(PublishedFormatError, match=name):
        lite0({name: torch.ones(1)})


def test_incomplete_file_is_refused_by_the_network() -> None:
    state = synthetic()
    del state["_blocks.7._bn1.running_var"]
    with pytest.raises(KeyMismatch, match=r"missing \(blocks\.3\.2\.bn2\.running_var\)"):
        load_into(build("tf_efficientnet_lite0"), lite0(state), ENTRY)


def test_file_of_another_network_leaves_nothing_behind(home: Path, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(saved({"conv1.weight": torch.ones(1)}))
    entry = make_entry("data:f", format="efficientnet-lite0")
    with pytest.raises(NotACheckpoint, match="'conv1.weight' is no name of EfficientNet-Lite0"):
        obtain(entry, from_file=tmp_path / "f")
    assert files_below(home) == []


@pytest.fixture
def real() -> Path:
    """The data root; asked for before `home` gives the test an empty one."""
    root = Path(os.environ.get("BENCH_DATA_ROOT", ""))
    checkpoint = registry.get(ENTRY).checkpoint
    assert checkpoint is not None
    file = checkpoint.sources[0].removeprefix("data:")
    for needed in (file, "imagenet-sample"):
        if not (root / needed).exists():
            pytest.skip(f"BENCH_DATA_ROOT has no {needed}")
    return root


@pytest.mark.realdata
def test_published_weights_know_their_classes_and_agree_with_the_description(
    real: Path, home: Path
) -> None:
    entry = registry.get(ENTRY)
    got = obtain(entry, data_root=real)
    net = build(entry.model).eval()
    load_into(net, got.tensors(), entry.id)
    raw = torch.load(
        real / "checkpoints/efficientnet-lite0/efficientnet-lite0-57934424.pth", weights_only=True
    )
    evaluation = registry.load().evaluation(entry, on="imagenet-sample")
    [(images, labels)] = evaluation_batches(evaluation, real, "cpu", 16, limit=16)
    with torch.inference_mode():
        logits = net(images)
        assert (logits - forward(raw, images)).abs().max() < ATOL_LOGITS * logits.abs().max()
    assert (logits.argmax(1) == labels).sum() >= 12  # 863 of all 1,000; by chance 0 of 16
