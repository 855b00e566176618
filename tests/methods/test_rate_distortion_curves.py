from __future__ import annotations

import warnings
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from methods.inventory import prunable_weights
from methods.rate_distortion import curves, measure
from methods.rate_distortion.distortion import rate_grid
from tests.methods.rd_fixtures import TINY, Tiny, arrays, described, naive_curves

# Stored curves: float32 from another torch version and kernel order (their README's tolerance).
STORED = {"rtol": 1e-4, "atol": 1e-7}
# Same kernels on the same shapes give the same bits; only the sum over images is reassociated.
SUM_ORDER = {"rtol": 1e-12, "atol": 0.0}
RATES = [0.0, 0.1, 0.5, 0.9, 1.0]


class Residual(nn.Module):
    """In-place sums and ReLUs, a projection branch, grouped and depthwise convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.main = nn.Sequential(
            nn.Conv2d(8, 8, 3, padding=1, groups=4),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        )
        self.shortcut = nn.Conv2d(8, 8, 1, stride=2)
        self.relu = nn.ReLU6(inplace=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu_(self.stem(x))
        y = self.main(x)
        y += self.shortcut(x)
        y = self.relu(y)
        y = y + torch.sigmoid(y)
        return self.fc(y.mean((2, 3)))


class Dense(nn.Module):
    """Concatenation of everything before, as in DenseNet, and a view used after an in-place op."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(3))
        self.fc = nn.Linear(15, 4)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            new = conv(x)
            flat = new.view(len(new), -1)
            torch.relu_(new)
            x = torch.cat([new, x + 0.01 * flat.mean()], 1)
        return self.fc(torch.nn.functional.adaptive_avg_pool2d(x, 1).view(x.size(0), -1))


class Views(nn.Module):
    """Reads a value again after an activation of a view of it, which must not be overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 2, 3, stride=3), nn.Linear(18, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        positive = torch.relu(y.flatten(1))
        return self.fc(positive + 0.1 * y.flatten(1))


class Shared(nn.Module):
    """One convolution called twice, and two linear layers that hold the same parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(torch.relu(self.conv(x))).mean((2, 3))
        return self.b(torch.tanh(self.a(x)))


class OutOfOrder(nn.Module):
    """Registered in another order than executed; one layer registered and never run."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)
        self.unused = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(6, 6, 3)
        self.first = nn.Conv2d(3, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.second(torch.relu(self.first(x)))).amax((2, 3)))


class Branching(nn.Module):
    """Takes a path that depends on the values, so no recording can stand for it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).mean((2, 3))
        return self.fc(y if y.sum() > 0 else -2 * y)


def _ready(net: type[nn.Module], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = net()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model.eval()


def _images(count: int = 7, side: int = 10) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("reduction", ["mean", "worst"])
@pytest.mark.parametrize("name", TINY)
def test_curves_match_the_published_programs(name, reduction):
    stored = arrays(name)
    measured = curves(Tiny(name), torch.tensor(stored["calib_x"]), 100, reduction)
    expected = torch.tensor(stored[f"rd_dist_{reduction}"]).double()
    torch.testing.assert_close(measured, expected, **STORED)


@pytest.mark.parametrize("name", TINY)
def test_logits_and_rates_are_those_of_the_published_program(name):
    stored = arrays(name)
    with torch.no_grad():
        logits = Tiny(name).eval()(torch.tensor(stored["calib_x"]))
    torch.testing.assert_close(logits, torch.tensor(stored["logits_dense"]), rtol=0, atol=1e-5)
    for row in torch.tensor(stored["rd_amount"]):
        assert rate_grid(row) == rate_grid(100)


@pytest.mark.parametrize("iteration", [1, 2, 3, 4])
@pytest.mark.parametrize("name", TINY)
def test_curves_of_pruned_nets_match_the_published_programs(name, iteration):
    stored = arrays(name)
    model = Tiny(name).eval()
    for layer in described(name)["layer_names"]:
        mask = torch.tensor(stored[f"iter{iteration}_mask/{layer}"])
        model.get_submodule(layer).weight.data.mul_(mask)
    measured = curves(model, torch.tensor(stored["calib_x"]), 100, "worst")
    expected = torch.tensor(stored[f"iter{iteration + 1}_rd_dist_worst"]).double()
    torch.testing.assert_close(measured, expected, **STORED)


@pytest.mark.parametrize("reduction", ["mean", "worst"])
@pytest.mark.parametrize("net", [Residual, Dense, Views, Shared, OutOfOrder])
def test_replay_equals_full_forward_passes(net, reduction):
    model, images = _ready(net), _images()
    result = measure(model, images, RATES, reduction, batch_size=3)
    assert result.recorded
    assert result.distortion.any()
    expected = naive_curves(model, images, RATES, reduction, 3)
    torch.testing.assert_close(result.distortion, expected, **SUM_ORDER)


def test_replay_equals_full_forward_passes_with_gates_and_depthwise_convolutions():
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.mobilenet_v3_small(weights=None, num_classes=10).eval()
    layers = dict(list(prunable_weights(model).items())[::12])
    images = _images(2, 32)
    result = measure(model, images, [0.3, 0.8], "worst", layers=layers)
    assert result.recorded
    expected = naive_curves(model, images, [0.3, 0.8], "worst", 2, layers)
    torch.testing.assert_close(result.distortion, expected, **SUM_ORDER)


def test_value_dependent_control_flow_falls_back_to_full_passes():
    model, images = _ready(Branching), _images()
    with pytest.warns(UserWarning, match="full forward passes"):
        result = measure(model, images, RATES, "mean", batch_size=4)
    assert not result.recorded
    expected = naive_curves(model, images, RATES, "mean", 4)
    torch.testing.assert_close(result.distortion, expected, **SUM_ORDER)


@pytest.mark.parametrize("budget", [0, 4000, 2**30])
def test_memory_budget_changes_no_bit(budget):
    model, images = _ready(Residual), _images()
    measured = curves(model, images, RATES, "worst", batch_size=3, memory_budget_bytes=budget)
    assert torch.equal(measured, curves(model, images, RATES, "worst", batch_size=3))


def test_nothing_before_the_perturbed_layer_is_recomputed():
    class Counting(TorchDispatchMode):
        calls: Counter[str] = Counter()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.calls[func.overloadpacket.__name__] += 1
            return func(*args, **(kwargs or {}))

    model = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(4)), nn.Flatten()).eval()
    with Counting() as counting:
        curves(model, _images(2, 4), 5, "worst")
    once_each = 4 + 4 + 4 + 3  # the model, its recording, the check, values between the layers
    after_and_at = 4 + 3 + 2 + 1
    rates_that_change_something = 5
    expected = once_each + after_and_at * rates_that_change_something
    assert counting.calls["convolution"] == expected


def test_model_is_left_as_it_was():
    model = _ready(Residual)
    model.main.train()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    curves(model, _images(), RATES)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_layers_never_executed_have_zero_curves_and_are_named():
    result = measure(_ready(OutOfOrder), _images(), RATES)
    assert result.names == ("fc", "unused", "second", "first")
    assert result.never_executed == ("unused",)
    assert not result.distortion[1].any()
    assert result.distortion[[0, 2, 3], 1:].all()


def test_rates_that_zero_only_zeros_cost_nothing_and_are_exactly_zero():
    model = _ready(Residual)
    weight = model.main[0].weight.data
    weight.view(-1)[weight.abs().flatten().argsort()[: weight.numel() // 2]] = 0
    ticks: list[tuple[int, int]] = []
    result = measure(
        model,
        _images(),
        10,
        layers={"main.0": prunable_weights(model)["main.0"]},
        progress=lambda done, total: ticks.append((done, total)),
    )
    assert not result.distortion[0, :6].any()
    assert result.distortion[0, 6:].all()
    assert len(ticks) == 5
    assert ticks[-1][0] == ticks[-1][1]


def test_logits_that_are_not_finite_are_refused_before_anything_is_kept():
    model = _ready(OutOfOrder)
    model.second.weight.data[0, 0, 0, 0] = float("nan")
    kept: list[str] = []
    with pytest.raises(ValueError, match="unpruned model gives logits that are not finite"):
        curves(model, _images(), RATES, on_layer=lambda name, _: kept.append(name))
    assert not kept


def test_a_layer_whose_pruning_breaks_the_logits_is_not_kept():
    class Reciprocal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return 1 / self.fc(x.mean((2, 3)))

    kept: list[str] = []
    with pytest.raises(ValueError, match=r"layer 'fc' with 6 of 6 weights zeroed"):
        curves(_ready(Reciprocal), _images(), 1, on_layer=lambda name, _: kept.append(name))
    assert not kept


def test_known_curves_are_not_measured_again():
    model, images = _ready(OutOfOrder), _images()
    first: dict[str, Tensor] = {}
    whole = measure(model, images, RATES, on_layer=first.__setitem__)
    assert list(first) == ["first", "second", "fc", "unused"]  # as executed, idle ones last
    assert torch.equal(torch.stack([first[name] for name in whole.names]), whole.distortion)
    rest: dict[str, Tensor] = {}
    known = {"second": torch.full((5,), 7.0), "elsewhere": torch.zeros(2)}
    again = measure(model, images, RATES, known=known, on_layer=rest.__setitem__)
    assert "second" not in rest
    assert torch.equal(again.distortion[2], torch.full((5,), 7.0).double())
    assert torch.equal(again.distortion[[0, 1, 3]], whole.distortion[[0, 1, 3]])


@pytest.mark.parametrize("stored", [torch.zeros(4), torch.full((5,), float("nan"))])
def test_stored_curves_that_do_not_fit_are_refused(stored):
    with pytest.raises(ValueError, match="stored curve of 'second'"):
        curves(_ready(OutOfOrder), _images(), RATES, known={"second": stored})


def test_requests_that_make_no_sense_are_refused():
    model, images = _ready(OutOfOrder), _images()
    with pytest.raises(ValueError, match="no calibration images"):
        curves(model, images[:0], RATES)
    with pytest.raises(ValueError, match="reduction 'median'"):
        curves(model, images, RATES, "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ascending"):
        curves(model, images, [0.5, 0.1])
    with pytest.raises(ValueError, match="ascending"):
        curves(model, images, [0.5, 1.5])
    with pytest.raises(ValueError, match="no layer"):
        curves(nn.Flatten(), images, RATES, layers={})


def test_models_without_one_tensor_of_logits_or_a_plain_weight_are_refused():
    class Pair(OutOfOrder):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            return x, x

    with pytest.raises(TypeError, match="returns a tuple"):
        curves(_ready(Pair), _images(), RATES)
    model = _ready(OutOfOrder)
    nn.utils.parametrizations.weight_norm(model.fc)
    with pytest.raises(TypeError, match="weight of 'fc' is computed"):
        curves(model, _images(), RATES)


def test_float32_rates_mean_their_decimals():
    grid = rate_grid(100)
    assert grid == [d / 100 for d in range(101)]
    assert rate_grid((torch.arange(101) / 100).float()) == grid
    assert rate_grid(torch.tensor(grid, dtype=torch.float64)) == grid


def test_measuring_warns_of_nothing_when_recorded():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curves(_ready(Residual), _images(), RATES)
