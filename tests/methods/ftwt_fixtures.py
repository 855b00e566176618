"""Stored FTWT arrays and the small networks they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from harness.models.cifar_resnet import CifarResNet
from harness.models.cifar_vgg import POOL, CifarVGG
from harness.models.mobilenetv1 import MobileNetV1
from methods.ftwt.gates import CHILD, Gate
from methods.ftwt.paper_files import from_paper, load_heads

FOLDER = Path(__file__).parents[1] / "fixtures" / "ftwt"
RTOL_STORED = 1e-5  # of the largest stored value: float32 sums in another order


def load(name: str) -> dict[str, Tensor | str]:
    """Array name -> tensor (text stays text)."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return {
            key: str(a) if a.dtype.kind == "U" and a.ndim == 0 else torch.from_numpy(np.array(a))
            for key, a in arrays.items()
            if key != "names"
        }


def case_names(name: str) -> list[str]:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return [str(n) for n in arrays["names"]]


def case(name: str, which: str) -> dict[str, Tensor | str]:
    """Arrays of one case of a file with several."""
    start = f"{which}/"
    return {k.removeprefix(start): v for k, v in load(name).items() if k.startswith(start)}


def assert_near(got: Tensor, stored: Tensor, tolerance: float = RTOL_STORED) -> None:
    """Largest difference at most `tolerance` x max(1, largest stored value)."""
    assert got.shape == stored.shape
    limit = tolerance * max(1.0, float(stored.abs().max()))
    assert float((got.detach() - stored).abs().max()) <= limit


def paper_state(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """A stored state dict, with the batch counters that the files leave out."""
    state = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    for key in [k for k in state if k.endswith("running_var")]:
        counter = key.replace("running_var", "num_batches_tracked")
        state[counter] = torch.zeros((), dtype=torch.int64)
    return state


def load_gated_file(model: nn.Module, raw: Mapping[str, Tensor]) -> None:
    """A gated file of the paper's layout into a gated model, as `bench` reads it: all keys fit."""
    paper = from_paper(raw)
    parts = {
        f"{conv}.{leaf}": value
        for conv, head in paper.heads.items()
        for leaf, value in zip(("weight", "bias"), head, strict=True)
    }
    load_heads(model, parts)
    gates = {k: v for k, v in model.state_dict().items() if k.startswith(f"{CHILD}.")}
    model.load_state_dict(paper.backbone | gates)


def mask_accuracy_pct(gates: Iterable[Gate]) -> Tensor:
    """Share of mask bits that agree with the ground truth, mean over gates, a scalar."""
    return 100 * torch.stack([(gate.keep == gate.truth).float().mean() for gate in gates]).mean()


def small_vgg(widths: tuple[int, ...], num_classes: int) -> nn.Module:
    """3x3 convolutions of `widths`, a 2x2 max-pool behind each."""
    return CifarVGG([entry for width in widths for entry in (width, POOL)], num_classes)


def small_net(name: str) -> nn.Module:
    """The untrained network behind the fixture net_<name>."""
    if name == "vgg":
        return small_vgg((8, 12, 16, 16, 16), 10)
    if name == "resnet":
        return CifarResNet(8, "avgpool")
    return MobileNetV1(10, width=0.0625, stem_stride=1, pool_size=2)


def randomise(model: nn.Module, seed: int) -> nn.Module:
    """`model` in evaluation mode with random weights and batch statistics, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_mean is not None and module.running_var is not None
                if module.affine:
                    module.weight.uniform_(0.5, 1.5, generator=generator)
                    module.bias.normal_(0, 0.3, generator=generator)
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
            elif isinstance(module, nn.Conv2d):
                fan = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan) ** 0.5, generator=generator)
    return model.eval()
