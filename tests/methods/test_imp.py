"""Iterative magnitude pruning with rewinding."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import nn

from harness.models import build
from methods.base import Schedule
from methods.imp import IMP, IMPSettings
from tests.methods.mnist_fixtures import counts

ROUNDS_ONLY = Schedule(epochs=0, steps_per_epoch=5)


def imp(model: nn.Module, **settings: Any) -> IMP:
    method = IMP(IMPSettings(**settings))
    method.attach(model, ROUNDS_ONLY)
    return method


def move_(model: nn.Module, seed: int) -> None:
    """As training does: every parameter somewhere else."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))


def run(model: nn.Module, method: IMP, amount: float, rounds: int) -> None:
    for number in range(1, rounds + 1):
        move_(model, number)
        method.after_step()
        method.prune(model, 1 - (1 - amount) ** number)


@pytest.mark.parametrize("rounds", [3, 7, 9, 15, 16])
def test_lenet300_is_left_with_the_papers_shares(rounds: int) -> None:
    stored = counts()["lottery_lenet300_Pm_pct"]
    model = build("lenet300")
    run(model, imp(model, rates={"fc3": 0.1}), 0.2, rounds)
    left = sum(int(m.weight.count_nonzero()) for m in (model.fc1, model.fc2, model.fc3))
    assert f"{100 * left / 266_200:.2f}" == str(stored[str(rounds)])
    assert f"{100 * left / 266_200:.1f}%" == stored["printed"][str(rounds)]


def test_survivors_go_back_to_their_first_values_with_everything_else() -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", num_classes=5)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    method = imp(model)
    run(model, method, 0.3, 2)
    weights = {f"{layer}.weight": mask for layer, mask in method.masks.items()}
    assert not all(mask.all() for mask in weights.values())
    for name, value in model.state_dict().items():
        want = first[name] * weights[name] if name in weights else first[name]
        assert torch.equal(value, want), name


def test_without_rewinding_the_trained_values_stay() -> None:
    model = build("lenet300")
    method = imp(model, rewind=False)
    move_(model, 1)
    trained = model.fc1.weight.detach().clone()
    method.prune(model, 0.5)
    assert torch.equal(model.fc1.weight, trained * method.masks["fc1"])


def test_layerwise_takes_the_same_share_of_every_layer_and_global_the_smallest() -> None:
    model = build("lenet300")
    method = imp(model)
    method.prune(model, 0.2)
    assert [int(m.sum()) for m in method.masks.values()] == [188_160, 24_000, 800]
    model = build("lenet300")
    with torch.no_grad():
        model.fc3.weight.mul_(1000)
    pooled = imp(model, allocation="global")
    pooled.prune(model, 0.2)
    assert pooled.masks["fc3"].all() and int(sum(m.sum() for m in pooled.masks.values())) == 212_960


def test_a_round_goes_on_from_a_saved_state_bit_for_bit() -> None:
    torch.manual_seed(0)
    model, other = build("lenet300"), build("lenet300")
    method = imp(model, rates={"fc3": 0.1})
    run(model, method, 0.2, 2)
    resumed = imp(
        other, rates={"fc3": 0.1}
    )  # from other first weights: the state has the right ones
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(method.state_dict())
    for each, its in ((model, method), (other, resumed)):
        move_(each, 3)
        its.after_step()
        its.prune(each, 1 - 0.8**3)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )


def test_wrong_uses_are_refused_in_words() -> None:
    model = build("lenet300")
    with pytest.raises(ValueError, match="bench prune --method imp"):
        IMP(IMPSettings()).attach(model, Schedule(epochs=3, steps_per_epoch=1))
    with pytest.raises(ValueError, match="'fc9'"):
        imp(model, rates={"fc9": 0.1})
    with pytest.raises(ValueError, match="rates are of layers"):
        imp(model, rates={"fc3": 0.1}, allocation="global")
