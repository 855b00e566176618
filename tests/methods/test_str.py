"""STR: the reference convolutions, training steps and conversion; thresholds of every grain."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from methods.base import Schedule
from methods.str import STR, SoftThreshold

FIXTURES = Path(__file__).parents[1] / "fixtures" / "str"
SCHEDULE = Schedule(epochs=1, steps_per_epoch=1)
ATOL_CONV = 1e-5  # float32 sums of a convolution in another order
RTOL_GRAD_S = 1e-5
ATOL_TRAINING = 1e-4
CONV = np.load(FIXTURES / "str_conv.npz")
CASES = sorted({key.split("__")[0] for key in CONV})


def _array(case, name):
    return torch.from_numpy(CONV[f"{case}__{name}"])


def _conv(case):
    weight = _array(case, "weight")
    options = {name: int(_array(case, name)) for name in ("stride", "padding", "groups")}
    channels = weight.shape[1] * options["groups"]
    layer = nn.Conv2d(channels, weight.shape[0], weight.shape[2], bias=False, **options)
    layer.weight.data = weight.clone()
    method = STR(STR.Settings(s_init=float(_array(case, "s"))))
    method.attach(nn.Sequential(layer), SCHEDULE)
    return layer, method


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_convolution_equals_the_reference_forward_and_backward(case, layout):
    layer, _ = _conv(case)
    layer.to(memory_format=layout)
    assert torch.equal(layer.weight, _array(case, "sparse_weight"))
    x = _array(case, "x").requires_grad_()
    y = layer(x)
    (y * _array(case, "upstream")).sum().backward()
    held = layer.parametrizations.weight
    torch.testing.assert_close(y, _array(case, "y"), rtol=0, atol=ATOL_CONV)
    torch.testing.assert_close(x.grad, _array(case, "grad_x"), rtol=0, atol=ATOL_CONV)
    expected = _array(case, "grad_weight")
    torch.testing.assert_close(held.original.grad, expected, rtol=0, atol=ATOL_CONV)
    assert torch.equal(held.original.grad == 0, expected == 0)
    s_grad = held[0].sparse_threshold.grad
    torch.testing.assert_close(s_grad, _array(case, "grad_s"), rtol=RTOL_GRAD_S, atol=1e-7)
    assert s_grad.shape == (1, 1)


def _autograd(weight, s):
    return weight.sign() * torch.relu(weight.abs() - s.sigmoid())


@pytest.mark.parametrize("s_shape", [(1, 1), (6, 1, 1, 1), (6, 5, 3, 3)])
def test_fused_rule_agrees_with_plain_autograd(s_shape):
    torch.manual_seed(0)
    weight = torch.randn(6, 5, 3, 3, requires_grad=True)
    s = torch.randn(s_shape, requires_grad=True)
    upstream = torch.randn(6, 5, 3, 3)
    with torch.no_grad():
        weight.view(-1)[:2] = s.sigmoid().flatten()[0] * torch.tensor([1.0, -1.0])  # exact ties
        weight.view(-1)[2] = 0.0
    fused = SoftThreshold(nn.Parameter(s.detach().clone()))
    twin = weight.detach().clone().requires_grad_()
    plain_out, fused_out = _autograd(weight, s), fused(twin)
    assert torch.equal(plain_out, fused_out)
    plain_out.backward(upstream)
    fused_out.backward(upstream)
    assert torch.equal(weight.grad, twin.grad)
    torch.testing.assert_close(s.grad, fused.sparse_threshold.grad, rtol=RTOL_GRAD_S, atol=1e-6)


def test_threshold_arithmetic_of_half_weights_is_in_float32():
    weight = torch.tensor([[0.2695, -0.2695, 0.5]], dtype=torch.bfloat16)
    out = SoftThreshold(nn.Parameter(torch.tensor([[-1.0]])))(weight)
    expected = _autograd(weight.float(), torch.tensor([[-1.0]])).bfloat16()
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected)


def _tiny():
    return nn.ModuleDict(
        {
            "conv1": nn.Conv2d(3, 8, 3, padding=1, bias=False),
            "bn1": nn.BatchNorm2d(8),
            "layer1": nn.Sequential(
                nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(12),
                nn.ReLU(),
                nn.Conv2d(12, 16, 1, bias=False),
            ),
            "bn2": nn.BatchNorm2d(16),
            "fc": nn.Conv2d(16, 10, 1, bias=False),
        }
    )


def _forward(net, x):
    x = net["layer1"](net["bn1"](net["conv1"](x)).relu())
    return net["fc"](net["bn2"](x).relu().mean((2, 3), keepdim=True)).flatten(1)


def _load(net, arrays, prefix):
    """Load a state dict of the official net into an attached one."""
    state = {}
    for key in arrays:
        if key.startswith(prefix):
            name = key.removeprefix(prefix).removeprefix("module.")
            name = name.replace("sparseThreshold", "parametrizations.weight.0.sparse_threshold")
            layer, _, last = name.rpartition(".")
            if last == "weight" and arrays[key].ndim == 4:
                name = f"{layer}.parametrizations.weight.original"
            state[name] = torch.from_numpy(arrays[key])
    net.load_state_dict(state)


def _attached(**options):
    net, method = _tiny(), STR(STR.Settings(variant="released", **options))
    method.attach(net, SCHEDULE)
    return net, method


def test_training_steps_equal_the_reference():
    arrays = np.load(FIXTURES / "str_sgd.npz")
    net, method = _attached(no_bn_decay=bool(arrays["no_bn_decay"]))
    _load(net, arrays, "init__")
    groups = method.parameter_groups(net)
    assert [len(group["params"]) for group in groups] == arrays["group_sizes"].tolist()
    decay, momentum = float(arrays["weight_decay"]), float(arrays["momentum"])
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=momentum, weight_decay=decay)
    smoothing = float(arrays["label_smoothing"])
    for step, lr in enumerate(arrays["lr"]):
        for group in optimizer.param_groups:
            group["lr"] = float(lr)
        optimizer.zero_grad()
        logits = _forward(net, torch.from_numpy(arrays["x"][step]))
        target = torch.from_numpy(arrays["target"][step])
        loss = nn.functional.cross_entropy(logits, target, label_smoothing=smoothing)
        loss.backward()
        optimizer.step()
        assert loss.item() == pytest.approx(arrays["loss"][step], abs=ATOL_TRAINING)
    expected, _ = _attached()
    _load(expected, arrays, "final__")
    for name, value in net.state_dict().items():
        other = expected.state_dict()[name]
        torch.testing.assert_close(value, other, rtol=0, atol=ATOL_TRAINING, msg=name)


def test_threshold_under_weight_decay_alone_follows_the_reference():
    arrays = np.load(FIXTURES / "s_decay.npz")
    layer = nn.Linear(4, 4)
    method = STR(STR.Settings(s_init=float(arrays["s0"]), st_decay=float(arrays["weight_decay"])))
    net = nn.Sequential(layer)
    method.attach(net, SCHEDULE)
    lr, momentum = float(arrays["lr"]), float(arrays["momentum"])
    optimizer = torch.optim.SGD(method.parameter_groups(net), lr=lr, momentum=momentum)
    s = layer.parametrizations.weight[0].sparse_threshold
    for expected in arrays["s"]:
        optimizer.zero_grad()
        layer(torch.ones(2, 4)).sum().backward()
        assert not s.grad.any()
        optimizer.step()
        assert s.item() == pytest.approx(expected, rel=1e-5)


def test_finalize_gives_the_converted_dense_network():
    arrays = np.load(FIXTURES / "convert_and_budget.npz")
    net, method = _attached()
    _load(net, arrays, "str__")
    net.eval()
    x = torch.from_numpy(arrays["x"])
    with torch.no_grad():
        learned = _forward(net, x)
        plain = method.finalize(net)
        assert torch.equal(learned, _forward(plain, x))
    np.testing.assert_allclose(learned, arrays["logits_str"], rtol=0, atol=ATOL_CONV)
    state = plain.state_dict()
    assert list(state) == list(_tiny().state_dict())
    for name, value in state.items():
        np.testing.assert_array_equal(value.numpy(), arrays[f"dense__module.{name}"])


def test_published_native_checkpoint_becomes_the_same_dense_weights():
    arrays = np.load(FIXTURES / "convert_and_budget.npz")
    native = {
        key.removeprefix("str__"): torch.from_numpy(arrays[key])
        for key in arrays
        if key.startswith("str__module.")
    }
    plain = STR.import_published({"state_dict": native})
    for name in ("conv1.weight", "layer1.0.weight", "layer1.3.weight"):
        np.testing.assert_array_equal(plain[name].numpy(), arrays[f"dense__module.{name}"])


def _layers():
    return nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(6, 5))


@pytest.mark.parametrize(
    ("granularity", "shapes"),
    [
        ("layer", [(1, 1), (1, 1)]),
        ("global", [(1, 1)]),
        ("filter", [(6, 1, 1, 1), (5, 1)]),
        ("weight", [(6, 2, 3, 3), (5, 6)]),
    ],
)
def test_granularity_decides_the_thresholds(granularity, shapes):
    torch.manual_seed(0)
    net = _layers()
    dense = [net[0].weight.detach().clone(), net[2].weight.detach().clone()]
    names = list(net.state_dict())
    method = STR(STR.Settings(s_init=-2.0, granularity=granularity))
    method.attach(net, SCHEDULE)
    thresholds = [p for n, p in net.named_parameters() if n.endswith("sparse_threshold")]
    assert [tuple(p.shape) for p in thresholds] == shapes
    net(torch.randn(2, 4, 3, 3)).square().sum().backward()
    assert all(p.grad.shape == p.shape and p.grad.any() for p in thresholds)
    plain = method.finalize(net)
    for before, after in zip(dense, (plain[0].weight, plain[2].weight), strict=True):
        assert torch.equal(after, _autograd(before, torch.tensor(-2.0)))
    assert list(plain.state_dict()) == names


def test_global_threshold_collects_the_gradient_of_all_layers():
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 3)
    start = _layers()
    gradients = {}
    for granularity in ("layer", "global"):
        net = copy.deepcopy(start)
        STR(STR.Settings(s_init=-2.0, granularity=granularity)).attach(net, SCHEDULE)
        net(x).square().sum().backward()
        gradients[granularity] = sum(
            p.grad.item() for n, p in net.named_parameters() if n.endswith("sparse_threshold")
        )
    assert gradients["global"] == pytest.approx(gradients["layer"], rel=1e-5)


@pytest.mark.parametrize(("variant", "undecayed"), [("released", 4), ("intended", 6)])
def test_no_bn_decay_reaches_by_name_or_by_layer(variant, undecayed):
    net, method = _tiny(), STR(STR.Settings(variant=variant, no_bn_decay=True, st_decay=0.5))
    method.attach(net, SCHEDULE)
    norm, threshold, rest = method.parameter_groups(net)
    assert norm["weight_decay"] == 0.0
    assert len(norm["params"]) == undecayed
    assert threshold["weight_decay"] == 0.5
    assert len(threshold["params"]) == 4
    assert "weight_decay" not in rest
    count = len(norm["params"]) + len(threshold["params"]) + len(rest["params"])
    assert count == len(list(net.parameters()))


def test_excluded_layers_have_no_threshold():
    net, method = _tiny(), STR(STR.Settings(exclude=("conv1", "fc")))
    method.attach(net, SCHEDULE)
    assert "weight" in dict(net["conv1"].named_parameters())
    assert sum(n.endswith("sparse_threshold") for n, _ in net.named_parameters()) == 2


def test_unknown_granularity_is_refused():
    with pytest.raises(ValueError, match="granularity"):
        STR.Settings(granularity="block")
