"""Sparsity asked for is sparsity reached on networks from elsewhere, recounted by plain torch."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

import methods
from harness.models import build, input_size
from harness.profile import sparsity
from methods.base import Schedule

NETWORKS = ("vit_b_32", "swin_t", "deit_tiny_patch16_224", "convnext_tiny", "convmixer_768_32")
RULES = {"magnitude": "global", "LAMP": "lamp", "ERK": "erk"}
QUICK = (("deit_tiny_patch16_224", "LAMP"), ("deit_tiny_patch16_224", "ERK"), ("swin_t", "ERK"))
EVERYTHING = pytest.mark.skipif(
    not os.environ.get("BENCH_ALL_NETWORKS"), reason="takes minutes: set BENCH_ALL_NETWORKS=1"
)
CASES = [
    pytest.param(n, r, marks=() if (n, r) in QUICK else (EVERYTHING, pytest.mark.slow))
    for n in NETWORKS
    for r in RULES
]


def _network(name: str) -> nn.Module:
    """Fresh weights, none of them zero: torchvision's classifiers begin as nothing but zeros."""
    torch.manual_seed(0)
    model = build(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter[parameter == 0] = 1e-4
    return model


def _zeros(model: nn.Module) -> tuple[int, int]:
    """(zeros, weights): every tensor with `weight` in its name and more than one wide dimension."""
    weights = [
        p for n, p in model.named_parameters() if "weight" in n and sum(s > 1 for s in p.shape) > 1
    ]
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_ninety_percent_of_all_weights_are_zero_to_the_last_one(name: str, rule: str) -> None:
    model = _network(name)
    kind = methods.get("magnitude")
    method = kind(kind.Settings(allocation=RULES[rule]))
    method.attach(model, Schedule(0, 1))
    method.prune(model, 0.9)
    method.finalize(model)
    zeros, total = _zeros(model)
    assert zeros == round(0.9 * total)
    assert sparsity(model).counts() == (total - zeros, total)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        pytest.param("deit_tiny_patch16_224", None),
        *(
            pytest.param(name, 64 if name == "convmixer_768_32" else None, marks=EVERYTHING)
            for name in NETWORKS
            if name != "deit_tiny_patch16_224"
        ),
    ],
)
@pytest.mark.slow
@pytest.mark.filterwarnings(  # torchvision's attention is measured by full forward passes
    "ignore:VisionTransformer. its recorded forward pass gives other logits:UserWarning"
)
def test_rate_distortion_removes_exactly_what_was_asked(name, side) -> None:
    model = _network(name)
    side = side or input_size(name)
    kind = methods.get("rd")
    method = kind(kind.Settings(points=10))
    method.attach(model, Schedule(0, 1))
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    method.prune(model, 0.9, images)
    method.finalize(model)
    zeros, total = _zeros(model)
    found = method.allocation
    assert sum(found.measurement.sizes) == total
    assert zeros == round(0.9 * total)
    assert found.measurement.never_executed == ()
