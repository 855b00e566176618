"""Lottery tickets and Han's layer-wise rounds on networks that their papers did not have."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import methods
from harness.models import build
from methods.base import Schedule
from methods.inventory import prunable_weights

NETWORKS = ("resnet20", "mobilenetv3_small_100", "vit_tiny_patch16_224")
ROUNDS = (0.5, 0.75)


def trained_a_little(model: nn.Module, method: methods.base.Method, round_number: int) -> None:
    """Two steps of momentum SGD, with the method's hooks around them as the loop calls them."""
    drawn = torch.Generator().manual_seed(round_number)
    side = 224 if "VisionTransformer" in type(model).__name__ else 32
    images = torch.randn(2, 3, side, side, generator=drawn)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for step in range(2):
        method.begin_step(step)
        loss = F.cross_entropy(model.train()(images), torch.tensor([1, 3]))
        optimizer.zero_grad()
        loss.backward()
        method.after_backward()
        optimizer.step()
        method.after_step()


def zeros(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.stored == 0 for name, weight in prunable_weights(model).items()}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", ["imp", "han-magnitude"])
def test_two_rounds_of_a_few_steps(kind: str, name: str) -> None:
    torch.manual_seed(0)
    model = build(name, num_classes=5)
    first = {key: value.clone() for key, value in model.state_dict().items()}
    made = methods.get(kind)
    method = made(made.Settings())
    method.attach(model, Schedule(epochs=0, steps_per_epoch=2))
    trained_a_little(model, method, 0)
    gone: dict[str, torch.Tensor] = {}
    for number, sparsity in enumerate(ROUNDS, 1):
        method.prune(model, sparsity)
        now = zeros(model)
        assert all((now[key] | ~before).all() for key, before in gone.items())  # nothing revives
        total = sum(mask.numel() for mask in now.values())
        left = total - sum(int(mask.sum()) for mask in now.values())
        # Han: to the last weight. Lottery tickets: to a weight of every layer.
        slack = len(now) * number if kind == "imp" else 0
        assert abs(left - (total - round(sparsity * total))) <= slack
        if kind == "imp":
            state = model.state_dict()
            changed = [key for key, value in state.items() if not torch.equal(value, first[key])]
            assert {key.removesuffix(".weight") for key in changed} <= set(now)
        trained_a_little(model, method, number)
        assert all(torch.equal(mask, now[key]) for key, mask in zeros(model).items())
        gone = now
    plain = method.finalize(model)
    assert sum(int(mask.sum()) for mask in zeros(plain).values()) == sum(
        int(mask.sum()) for mask in gone.values()
    )
