"""What every static method promises on any network of Conv2d and Linear layers."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

import methods
from methods.base import Schedule
from methods.inventory import prunable_weights

SCHEDULE = Schedule(epochs=4, steps_per_epoch=1, seed=1)
# (method, settings, layers' zeros are exactly round(sparsity * N) in total)
METHODS = [
    ("random", {"sparsity": 0.9}, True),
    ("magnitude", {"sparsity": 0.9, "allocation": "lamp"}, True),
    ("magnitude", {"sparsity": 0.9, "allocation": "uniform_plus"}, True),
    ("gmp", {"sparsity": 0.9, "allocation": "erk"}, True),
    ("gmp", {"sparsity": 0.9, "variant": "released"}, False),
    ("acdc", {"sparsity": 0.9}, True),
    ("acdc", {"sparsity": 0.9, "variant": "released"}, False),
    ("acdc", {"allocation": "2:4", "include": ["blocks.*"]}, False),
    ("str", {"s_init": -4.0}, False),
    ("str", {"s_init": -4.0, "granularity": "filter"}, False),
    ("dnw", {"sparsity": 0.9}, False),
]


def _id(case):
    return "-".join([case[0], *(str(value) for value in case[1].values())])


def _method(case):
    kind = methods.get(case[0])
    return kind(kind.Settings(**case[1]))


def _net():
    torch.manual_seed(0)  # depthwise and squeeze-excite convolutions, a stem and a linear head
    return timm.create_model("test_efficientnet", num_classes=5)


def _train(net, method, schedule):
    optimizer = torch.optim.SGD(
        method.parameter_groups(net) or net.parameters(), 0.01, momentum=0.9, nesterov=True
    )
    method.bind(optimizer)
    for epoch in range(schedule.epochs):
        method.begin_epoch(epoch)
        method.begin_step(epoch)
        optimizer.zero_grad()
        x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(epoch))
        net(x).square().mean().backward()
        method.after_backward()
        optimizer.step()
        method.after_step()
        method.end_epoch(epoch)


@pytest.mark.parametrize("case", METHODS, ids=_id)
@pytest.mark.parametrize(
    "layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"]
)
def test_trained_network_comes_back_plain_and_sparse(case, layout):
    net = _net().to(memory_format=layout)
    keys, kinds = list(net.state_dict()), [type(module) for module in net.modules()]
    method = _method(case)
    method.attach(net, SCHEDULE)
    _train(net, method, SCHEDULE)
    net.eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        before = net(x)
        plain = method.finalize(net)
        assert torch.equal(before, plain(x))
    assert list(plain.state_dict()) == keys
    assert [type(module) for module in plain.modules()] == kinds
    zeros = sum(int((layer.parameter == 0).sum()) for layer in prunable_weights(plain).values())
    total = sum(layer.parameter.numel() for layer in prunable_weights(plain).values())
    assert zeros > 0
    if case[2]:
        assert zeros == round(0.9 * total)
    if case[1].get("allocation") == "2:4":
        convs = {n: m for n, m in prunable_weights(plain).items() if n.startswith("blocks.")}
        assert zeros == sum(layer.parameter.numel() for layer in convs.values()) // 2


@pytest.mark.parametrize("case", METHODS, ids=_id)
def test_a_copy_can_be_finalized_while_training_goes_on(case):
    net = _net()
    method = _method(case)
    method.attach(net, SCHEDULE)
    _train(net, method, SCHEDULE)
    held = {name: value.clone() for name, value in net.state_dict().items()}
    plain = method.finalize(copy.deepcopy(net))
    assert all(torch.equal(value, held[name]) for name, value in net.state_dict().items())
    again = method.finalize(net)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


@pytest.mark.parametrize("name", ["random", "magnitude", "gmp", "acdc", "str", "dnw"])
def test_a_network_without_layers_to_prune_is_refused(name):
    options = {} if name == "str" else {"sparsity": 0.5}
    with pytest.raises(ValueError, match="no layer left to prune"):
        _method((name, options)).attach(nn.BatchNorm2d(3), SCHEDULE)


@pytest.mark.parametrize("name", ["str", "dnw"])
def test_attaching_twice_is_refused(name):
    net = _net()
    case = (name, {} if name == "str" else {"sparsity": 0.5})
    _method(case).attach(net, SCHEDULE)
    with pytest.raises(ValueError, match="'conv_stem' is parametrized already"):
        _method(case).attach(net, SCHEDULE)
