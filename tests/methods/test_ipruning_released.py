"""The released code's own ways: gradient masks, restore set, masking in place."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from methods.base import Schedule
from methods.ipruning import EDropout, IPruning
from methods.ipruning.filter_layout import Rule, describe
from methods.ipruning.released import final_state, gradient_masks, restored_names
from tests.methods.ipruning_cases import TinyNet, arrays, lived_in, names


@pytest.mark.parametrize(
    ("rule", "file"), [("ip", "tinynet_ipruning"), ("ed06", "edropout_tinynet")]
)
def test_gradient_masks_are_the_stored_ones(rule: Rule, file: str) -> None:
    stored, model = arrays(file), TinyNet()
    state = stored["state"] if rule == "ip" else stored["states"][0]

    masks = gradient_masks(describe(model, rule), state)

    for name, _ in model.named_parameters():
        expected = stored[f"gm|{name}"]
        mask = masks.get(name, torch.ones_like(expected))
        assert torch.equal(mask.flatten(), expected.flatten())


def test_ip_restores_what_the_stored_list_names() -> None:
    restored = restored_names(describe(TinyNet()))

    assert sorted(restored) == names("tinynet_ipruning", "official_backup_names")


def released(method_class: Any, model: nn.Module, **chosen: Any) -> Any:
    method = method_class(method_class.Settings(variant="released", **chosen))
    method.attach(model, Schedule(epochs=3, steps_per_epoch=20, seed=0))
    method.begin_epoch(0)
    return method


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    stored = arrays("tinynet_ipruning")
    return stored["x"], stored["y"]


def test_edropout_uses_its_own_layout_and_ip_the_other() -> None:
    assert released(EDropout, TinyNet()).layout.rule == "ed06"
    assert released(IPruning, TinyNet()).layout.rule == "ip"


def test_released_costs_are_stale_and_intended_ones_live() -> None:
    assert not released(EDropout, TinyNet()).live_costs
    assert EDropout(EDropout.Settings()).live_costs


def test_candidates_move_the_running_statistics() -> None:
    model = lived_in(TinyNet())
    before = model.bn1.running_mean.clone()

    released(EDropout, model).begin_step(0, *batch())

    assert not torch.equal(model.bn1.running_mean, before)


def test_frozen_edropout_restores_the_same_backup_every_step() -> None:
    model = lived_in(TinyNet())
    method = released(EDropout, model)
    method.begin_step(0, *batch())
    method.after_backward()
    backup = copy.deepcopy(method.state_dict()["backup"])
    method.converged = method._in_place.frozen = True

    with torch.no_grad():
        model.conv1.weight.add_(1.0)  # what an optimizer step would do
    method.begin_step(1, *batch())
    method.after_backward()

    assert torch.equal(model.conv1.weight.detach(), backup["conv1.weight"])


def test_frozen_ip_leaves_the_mask_in_the_weights() -> None:
    model = lived_in(TinyNet())
    method = released(IPruning, model)
    method.begin_epoch(200)
    method.begin_step(0, *batch())
    method.after_backward()

    assert method.converged
    off = method.best[:12] == 0
    assert off.any() and (model.conv1.weight[off] == 0).all()


def test_the_end_of_an_epoch_destroys_what_is_off() -> None:
    model = lived_in(TinyNet())
    method = released(EDropout, model)
    method.begin_step(0, *batch())
    method.after_backward()
    off = method.best[:12] == 0
    assert off.any() and (model.conv1.weight[off] != 0).any()

    method.end_epoch(0)

    assert (model.conv1.weight[off] == 0).all()


def test_the_search_stops_when_any_recent_best_cost_repeats() -> None:
    method = released(EDropout, TinyNet(), early_epoch=1)
    method._best_costs = [3.0, 2.0, 3.0]
    assert not method.stops_released(11)  # epoch 0
    method.epoch = 1
    assert not method.stops_released(10)
    assert method.stops_released(11)


def test_ip_stops_unconditionally_from_the_early_epoch_and_late_before() -> None:
    method = released(IPruning, TinyNet(), early_epoch=5)
    method._best_costs, method.generations = [2.0, 2.0], 999
    assert not method.stops_released(0)
    method.generations = 1000
    assert method.stops_released(0)
    method._best_costs = [2.0]
    assert not method.stops_released(0)
    method.epoch = 5
    assert method.stops_released(0)


def test_the_final_state_turns_the_last_bits_on() -> None:
    best = torch.zeros(8, dtype=torch.uint8)

    assert final_state(best, 3).tolist() == [0, 0, 0, 0, 0, 1, 1, 1]
    assert best.sum() == 0
