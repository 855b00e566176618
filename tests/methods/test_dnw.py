"""DNW: the reference convolutions, straight-through gradients, counts, memory formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from methods.base import Schedule
from methods.dnw import DNW

FIXTURES = Path(__file__).parents[1] / "fixtures" / "str"
SCHEDULE = Schedule(epochs=1, steps_per_epoch=1)
ATOL_CONV = 1e-5  # float32 sums of a convolution in another order
CONV = np.load(FIXTURES / "dnw_conv.npz")
CASES = sorted({key.split("__")[0] for key in CONV})


def _array(case, name):
    return torch.from_numpy(CONV[f"{case}__{name}"])


def _attach(net, **options):
    method = DNW(DNW.Settings(**options))
    method.attach(net, SCHEDULE)
    return method


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolution_equals_the_reference_forward_and_backward(case, layout):
    weight = _array(case, "weight")
    options = {name: int(_array(case, name)) for name in ("stride", "padding", "groups")}
    channels = weight.shape[1] * options["groups"]
    layer = nn.Conv2d(channels, weight.shape[0], weight.shape[2], bias=False, **options)
    layer.weight.data = weight.clone()
    layer.to(memory_format=layout)
    _attach(nn.Sequential(layer), sparsity=float(_array(case, "prune_rate")))
    assert torch.equal(layer.weight, _array(case, "effective_weight"))
    assert int((layer.weight == 0).sum()) == int(_array(case, "n_zero"))
    x = _array(case, "x").requires_grad_()
    y = layer(x)
    (y * _array(case, "upstream")).sum().backward()
    expected = {"y": y, "grad_x": x.grad}
    expected["grad_weight"] = next(layer.parameters()).grad
    for name, value in expected.items():
        torch.testing.assert_close(value, _array(case, name), rtol=0, atol=ATOL_CONV)


def test_the_mask_follows_the_stored_weights():
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    _attach(nn.Sequential(layer), sparsity=0.5)
    assert layer.weight.tolist() == [[4.0, 3.0, 0.0, 0.0]]
    with torch.no_grad():
        layer.parametrizations.weight.original[0, 3] = -5.0
    assert layer.weight.tolist() == [[4.0, 0.0, 0.0, -5.0]]


def test_equal_weights_lose_exactly_the_count_and_the_earlier_stay():
    layer = nn.Linear(10, 10, bias=False)
    nn.init.ones_(layer.weight)
    _attach(nn.Sequential(layer), sparsity=0.29)
    assert layer.weight.flatten().tolist() == [1.0] * 72 + [0.0] * 28


def test_budget_mixes_rates_counts_and_a_default():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, groups=1), nn.Linear(10, 10), nn.Linear(10, 5))
    method = _attach(net, sparsity=0.5, budget={"0": 7, "1": 0.29})
    plain = method.finalize(net)
    assert [int(layer.weight.count_nonzero()) for layer in plain] == [7, 72, 25]
    assert list(plain.state_dict())[:3] == ["0.weight", "0.bias", "1.weight"]


def test_neither_sparsity_nor_budget_is_refused():
    with pytest.raises(ValueError, match="no sparsity: set it"):
        DNW.Settings()


def test_a_sparsity_that_is_no_fraction_is_refused():
    with pytest.raises(ValueError, match=r"sparsity 1\.2 is not a fraction"):
        DNW.Settings(sparsity=1.2)
