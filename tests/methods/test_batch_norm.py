"""Recalibrated statistics are the plain average over the batches, and nothing else moves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from methods.batch_norm import recalibrate_batch_norm_


def _net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3), nn.Dropout(0.5), nn.Conv2d(4, 2, 1),
        nn.BatchNorm2d(2),
    )  # fmt: skip
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(8, 3, 6, 6) * 5)  # statistics of something else
    return net.eval()


def _batches(*sizes: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 6, 6, generator=generator) for size in sizes]


def test_statistics_are_the_average_over_batches() -> None:
    net, batches = _net(), _batches(4, 4, 2)
    with torch.no_grad():
        seen = [net[0](batch).transpose(0, 1).flatten(1) for batch in batches]
    assert recalibrate_batch_norm_(net, iter(batches)) == 10
    mean = torch.stack([x.mean(1) for x in seen]).mean(0)
    variance = torch.stack([x.var(1) for x in seen]).mean(0)
    torch.testing.assert_close(net[1].running_mean, mean)
    torch.testing.assert_close(net[1].running_var, variance)


def test_later_norms_see_inputs_normalised_by_their_batch_and_no_dropout() -> None:
    net, (batch,) = _net(), _batches(8)
    twice = _net()
    recalibrate_batch_norm_(net, [batch])
    recalibrate_batch_norm_(twice, [batch])
    assert torch.equal(net[4].running_mean, twice[4].running_mean)
    with torch.no_grad():
        inner = net[0](batch)
        normal = torch.nn.functional.batch_norm(
            inner, None, None, net[1].weight, net[1].bias, training=True, eps=net[1].eps
        )
        expected = net[3](normal).mean((0, 2, 3))
    torch.testing.assert_close(net[4].running_mean, expected)


def test_weights_modes_and_momenta_stay() -> None:
    net = _net()
    net[0].train()
    weights = {name: value.clone() for name, value in net.named_parameters()}
    recalibrate_batch_norm_(net, _batches(4))
    assert all(torch.equal(value, weights[name]) for name, value in net.named_parameters())
    assert [module.training for module in net] == [True, False, False, False, False]
    assert [net[1].momentum, net[4].momentum] == [0.3, 0.1]
    assert all(value.grad is None for value in net.parameters())


@pytest.mark.parametrize(
    ("batches", "error"),
    [([], "no images"), ([torch.zeros(2, 3, 6, 6), torch.zeros(2, 5, 6, 6)], "channels")],
)
def test_a_failure_leaves_the_old_statistics(batches, error) -> None:
    net = _net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises((ValueError, RuntimeError), match=error):
        recalibrate_batch_norm_(net, batches)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_network_without_batch_norm_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no batch norm"):
        recalibrate_batch_norm_(nn.Linear(3, 2), [torch.zeros(1, 3)])
