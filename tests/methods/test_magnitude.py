"""Magnitude and random pruning: exact counts, rounds, layers left alone, masked training."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from methods.allocation import survivors
from methods.base import Schedule
from methods.magnitude import Magnitude
from methods.random import Random

PROFILE = settings(deadline=None, max_examples=40, derandomize=True)
ALLOCATIONS = ["uniform", "uniform_plus", "erk", "global", "lamp"]
NO_TRAINING = Schedule(epochs=0, steps_per_epoch=0)


def _net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 24, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 10),
    )


def _weights(net):
    return {
        name: layer.weight
        for name, layer in net.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def _nnz(net):
    return sum(int(w.count_nonzero()) for w in _weights(net).values())


def _total(net):
    return sum(w.numel() for w in _weights(net).values())


def _step(net, method, optimizer, step):
    torch.manual_seed(step)
    method.begin_step(step)
    optimizer.zero_grad()
    net(torch.randn(4, 3, 6, 6)).square().mean().backward()
    method.after_backward()
    optimizer.step()
    method.after_step()


@pytest.mark.parametrize("kind", [Magnitude, Random])
@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("sparsity", [0.0, 0.371, 0.6])
def test_prune_leaves_exactly_the_requested_count(kind, allocation, sparsity):
    net = _net()
    method = kind(kind.Settings(allocation=allocation))
    method.prune(net, sparsity)
    total = _total(net)
    assert _nnz(net) == total - round(sparsity * total)


def test_uniform_plus_says_when_the_dense_first_layer_is_too_big():
    method = Magnitude(Magnitude.Settings(allocation="uniform_plus"))
    with pytest.raises(ValueError, match=r"infeasible for uniform\+"):
        method.prune(_net(), 0.9)  # 216 of 720 weights are the first convolution


@PROFILE
@given(st.integers(0, 720))
def test_equal_weights_do_not_disturb_the_count(pruned):
    net = _net()
    for weight in _weights(net).values():
        nn.init.constant_(weight, 0.5)
    for allocation in ("global", "lamp", "uniform"):
        twin = copy.deepcopy(net)
        method = Magnitude(Magnitude.Settings(allocation=allocation))
        method.prune(twin, pruned / _total(net))
        assert _nnz(twin) == _total(net) - pruned


@pytest.mark.parametrize("kind", [Magnitude, Random])
def test_later_rounds_never_revive_a_weight(kind):
    net = _net()
    method = kind(kind.Settings())
    before = None
    for round_ in range(1, 5):
        method.prune(net, 1 - 0.8**round_)
        with torch.no_grad():
            for weight in _weights(net).values():
                weight.add_(1.0)  # a careless fine-tuning that touches masked weights too
        masks = {name: mask.clone() for name, mask in method.masks.items()}
        if before is not None:
            assert not any((masks[name] & ~before[name]).any() for name in masks)
        before = masks


def test_a_live_zero_ranks_above_a_pruned_weight():
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    method = Magnitude(Magnitude.Settings())
    method.prune(layer, 0.5)
    nn.init.zeros_(layer.weight)
    method.prune(layer, 0.75)
    assert method.masks[""].tolist() == [[False, False, True, False]]


def test_pruning_to_less_than_is_gone_already_is_refused():
    net = _net()
    method = Magnitude(Magnitude.Settings())
    method.prune(net, 0.8)
    with pytest.raises(ValueError, match="never revives a weight; ask for a higher sparsity"):
        method.prune(net, 0.5)


def test_magnitude_keeps_the_largest_of_each_layer():
    net = _net()
    dense = {name: w.detach().clone() for name, w in _weights(net).items()}
    method = Magnitude(Magnitude.Settings(allocation="uniform"))
    method.prune(net, 0.75)
    for name, weight in _weights(net).items():
        kept = weight != 0
        assert dense[name][kept].abs().min() >= dense[name][~kept].abs().max()
        assert torch.equal(weight[kept], dense[name][kept])


def test_excluded_layers_and_biases_are_untouched():
    net = _net()
    dense = copy.deepcopy(net.state_dict())
    method = Magnitude(Magnitude.Settings(exclude=["0", "7"]))
    method.prune(net, 0.9)
    for name, value in net.state_dict().items():
        if name not in ("2.weight", "4.weight"):
            assert torch.equal(value, dense[name]), name
    assert sum(survivors(method.masks).values()) == 264 - round(0.9 * 264)


def test_included_layers_are_the_denominator():
    net = _net()
    Magnitude(Magnitude.Settings(include=["4"])).prune(net, 0.5)
    assert {n: int(w.count_nonzero()) for n, w in _weights(net).items()}["4"] == 96


@pytest.mark.parametrize("field", ["include", "exclude"])
def test_a_pattern_that_matches_nothing_is_named(field):
    method = Magnitude(Magnitude.Settings(**{field: ["layer9.*"]}))
    with pytest.raises(ValueError, match=r"pattern 'layer9\.\*' matches no"):
        method.prune(_net(), 0.5)


def test_excluding_every_layer_is_refused():
    with pytest.raises(ValueError, match="no layer left to prune"):
        Magnitude(Magnitude.Settings(exclude=["*"])).prune(_net(), 0.5)


@pytest.mark.parametrize("sparsity", [1.2, -0.1, 1.0])
def test_settings_refuse_a_sparsity_that_is_no_fraction(sparsity):
    with pytest.raises(ValueError, match=f"sparsity {sparsity} is not a fraction below 1"):
        Magnitude.Settings(sparsity=sparsity)


def test_training_without_a_sparsity_is_refused():
    with pytest.raises(ValueError, match="no sparsity to train at"):
        Magnitude(Magnitude.Settings()).attach(_net(), Schedule(epochs=1, steps_per_epoch=1))


@pytest.mark.parametrize("kind", [Magnitude, Random])
def test_attach_prunes_once_and_training_keeps_the_zeros(kind):
    net = _net()
    method = kind(kind.Settings(sparsity=0.8))
    method.attach(net, Schedule(epochs=1, steps_per_epoch=3, seed=5))
    zeros = {name: w == 0 for name, w in _weights(net).items()}
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-2)
    for step in range(3):
        _step(net, method, optimizer, step)
        for name, weight in _weights(net).items():
            assert torch.equal(weight == 0, zeros[name])
            assert not weight.grad[zeros[name]].any()
    method.attach(net, Schedule(epochs=1, steps_per_epoch=3, seed=6))
    assert all(torch.equal(~method.masks[name], zeros[name]) for name in zeros)


def test_attaching_to_a_schedule_of_no_epochs_prunes_nothing():
    net = _net()
    Magnitude(Magnitude.Settings(sparsity=0.8)).attach(net, NO_TRAINING)
    assert _nnz(net) == _total(net)


def test_random_masks_follow_the_seed_of_the_schedule():
    def masks(seed):
        method = Random(Random.Settings(sparsity=0.8))
        method.attach(_net(), Schedule(epochs=1, steps_per_epoch=1, seed=seed))
        return torch.cat([mask.flatten() for mask in method.masks.values()])

    assert torch.equal(masks(3), masks(3))
    assert not torch.equal(masks(3), masks(4))


@pytest.mark.parametrize("kind", [Magnitude, Random])
def test_a_restored_method_prunes_on_as_the_original_would(kind):
    net = _net()
    method = kind(kind.Settings())
    method.prune(net, 0.5)
    saved, twin = copy.deepcopy(method.state_dict()), copy.deepcopy(net)
    restored = kind(kind.Settings())
    restored.attach(twin, NO_TRAINING)
    restored.load_state_dict(saved)
    method.prune(net, 0.9)
    restored.prune(twin, 0.9)
    for (name, mine), theirs in zip(_weights(net).items(), _weights(twin).values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_masks_of_another_network_are_refused():
    method = Magnitude(Magnitude.Settings())
    method.prune(_net(), 0.5)
    other = Magnitude(Magnitude.Settings(exclude=["0"]))
    other.attach(_net(), NO_TRAINING)
    with pytest.raises(ValueError, match="resume with the settings it began with"):
        other.load_state_dict(method.state_dict())


def test_finalize_zeroes_a_copy_and_leaves_the_attached_model():
    net = _net()
    method = Magnitude(Magnitude.Settings())
    method.prune(net, 0.8)
    with torch.no_grad():
        net[0].weight.add_(1.0)
    plain = method.finalize(copy.deepcopy(net))
    assert _nnz(plain) == _total(net) - round(0.8 * _total(net))
    assert net[0].weight.count_nonzero() == 216
