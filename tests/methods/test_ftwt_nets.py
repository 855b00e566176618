"""FTWT on whole networks: stored nets, the stored training run, and the method interface."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import methods
from methods.base import Schedule
from methods.ftwt import FTWT, FTWTSettings
from methods.ftwt.accounting import gated_costs
from methods.ftwt.gates import gates_of
from methods.ftwt.paper_files import from_paper
from tests.methods.ftwt_fixtures import (
    assert_near,
    load,
    load_gated_file,
    mask_accuracy_pct,
    paper_state,
    small_net,
    small_vgg,
)

RTOL_NET = 5e-5  # stated with the stored nets
RTOL_TRAINING = 1e-4  # stated with the stored training run


def attached(model: nn.Module, epochs: int = 4, **settings: object) -> FTWT:
    method = FTWT(FTWTSettings(**settings))
    method.attach(model, Schedule(epochs=epochs, steps_per_epoch=1, seed=1))
    return method


@pytest.mark.parametrize("name", ["vgg", "resnet", "mobilenet"])
def test_small_gated_net_equals_the_official_one(name: str) -> None:
    stored = load(f"net_{name}")
    model = small_net(name)
    method = attached(model, mass=float(stored["thr"]))
    load_gated_file(model, paper_state(stored, "sd::"))
    model.eval()
    method.gates.set_truth(True)
    with torch.no_grad():
        assert_near(model(stored["x"]), stored["out"], RTOL_NET)
    for i, gate in enumerate(method.gates):
        assert_near(gate.logits, stored[f"logits{i:02}"], RTOL_NET)
        assert torch.equal(gate.truth.to(torch.uint8), stored[f"gt{i:02}"]), gate.layer
    active = method.gates.active()
    assert torch.equal(active.float(), stored["active"])
    costs = gated_costs(model, stored["x"][:1])
    assert torch.equal(costs.reported(active).float(), stored["layer_flops"])
    assert torch.equal(costs.reported_total(active).float(), stored["flops"])
    method.gates.set_enabled(False)
    with torch.no_grad():
        assert_near(model(stored["x"]), stored["dense_out"], RTOL_NET)


def train_step(method: FTWT, model: nn.Module, x: Tensor, y: Tensor, optimizer: object) -> Tensor:
    outputs = model(x)
    extra = method.extra_loss(outputs, y)
    cross_entropy = F.cross_entropy(outputs, y)
    optimizer.zero_grad()
    (cross_entropy + extra).backward()
    method.after_backward()
    optimizer.step()
    method.after_step()
    return torch.stack([cross_entropy.detach(), extra.detach(), mask_accuracy_pct(method.gates)])


def optimizer_of(method: FTWT, model: nn.Module) -> torch.optim.SGD:
    groups = method.parameter_groups(model)
    for group in groups:
        group.pop("constant_lr", None)  # read by the training loop
    return torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=5e-4)


@pytest.mark.parametrize("mode", ["joint", "decoupled"])
def test_training_run_equals_the_official_one(mode: str) -> None:
    stored = load("train_steps")
    model = small_vgg((6, 8, 8, 8, 8), 4)
    method = attached(model, mass=float(stored["thr"]), mode=mode)
    load_gated_file(model, paper_state(stored, "init::"))
    costs = gated_costs(model.eval(), stored["X"][0, :1])
    model.train()
    optimizer = optimizer_of(method, model)
    for step, record in enumerate(stored[f"{mode}/record"]):
        method.begin_epoch(step)
        assert method.mask_loss_weight == float(stored["lweight"][step])
        got = train_step(method, model, stored["X"][step], stored["Y"][step], optimizer)
        assert_near(got, record[:3].float(), RTOL_TRAINING)
        mean_macs = costs.reported_total(method.gates.active()).double().mean()
        assert float(mean_macs) == float(record[3])
    final = from_paper(paper_state(stored, f"final_{mode}::"))
    state = model.state_dict()
    for key, value in final.backbone.items():
        if not key.endswith("num_batches_tracked"):
            assert_near(state[key], value, RTOL_TRAINING)
    for i, gate in enumerate(method.gates):
        weight, bias = final.heads[gate.layer.conv]
        assert_near(state[f"ftwt.{i}.weight"], weight, RTOL_TRAINING)
        assert_near(state[f"ftwt.{i}.bias"], bias, RTOL_TRAINING)


def test_only_joint_mode_sends_the_mask_loss_into_the_backbone() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for mode, reached in (("joint", True), ("decoupled", False)):
        model = small_net("vgg")
        method = attached(model, mode=mode)
        method.begin_epoch(0)
        method.extra_loss(model(images), torch.zeros(2)).backward()
        assert (model.features[0].weight.grad is not None) is reached
        assert all(gate.weight.grad is not None for gate in method.gates)


def test_task_loss_never_reaches_the_heads() -> None:
    model = small_net("resnet")
    method = attached(model, mode="joint")
    model(torch.rand(2, 3, 32, 32)).sum().backward()
    assert all(gate.weight.grad is None for gate in method.gates)


def test_cooled_down_heads_get_zero_gradients_not_none() -> None:
    model = small_net("vgg")
    method = attached(model, epochs=5)  # int(0.5 * 5) = 2
    weights = []
    for epoch in range(5):
        method.begin_epoch(epoch)
        weights.append(method.mask_loss_weight)
    assert weights == [1, 1, 0, 0, 0]
    method.extra_loss(model(torch.rand(2, 3, 32, 32)), torch.zeros(2)).backward()
    assert all(gate.weight.grad.abs().sum() == 0 for gate in method.gates)


def test_heads_form_a_group_of_their_own_with_constant_rate() -> None:
    model = small_net("vgg")
    method = attached(model, head_lr=0.2)
    backbone, heads = method.parameter_groups(model)
    assert set(backbone) == {"params"}
    assert {k: v for k, v in heads.items() if k != "params"} == {
        "lr": 0.2,
        "weight_decay": 0.0,
        "constant_lr": True,
    }
    together = {id(p) for group in (backbone, heads) for p in group["params"]}
    assert together == {id(p) for p in model.parameters()}
    assert len(backbone["params"]) + len(heads["params"]) == len(list(model.parameters()))
    assert len(heads["params"]) == 2 * 5


def test_heads_depend_on_the_seed_alone() -> None:
    def heads(noise: int, seed: int) -> Tensor:
        torch.manual_seed(noise)
        model = small_net("vgg")
        method = FTWT(FTWTSettings())
        before = torch.get_rng_state()
        method.attach(model, Schedule(1, 1, seed=seed))
        assert torch.equal(torch.get_rng_state(), before)
        return torch.cat([gate.weight.flatten() for gate in method.gates])

    assert torch.equal(heads(1, seed=7), heads(2, seed=7))
    assert not torch.equal(heads(1, seed=7), heads(1, seed=8))


def test_head_weights_fill_the_default_range() -> None:
    method = attached(small_net("resnet"))
    for gate in method.gates:
        bound = gate.in_features**-0.5
        assert 0.5 * bound < float(gate.weight.detach().abs().max()) <= bound


def test_interrupted_run_continues_bit_for_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    x, y = torch.rand(4, 6, 3, 32, 32, generator=generator), torch.arange(24).reshape(4, 6) % 10

    def run(model: nn.Module, method: FTWT, optimizer: torch.optim.SGD, steps: range) -> None:
        for step in steps:
            method.begin_epoch(step)
            train_step(method, model, x[step], y[step], optimizer)

    first = small_net("vgg").train()
    start = copy.deepcopy(first)
    method = attached(first)
    optimizer = optimizer_of(method, first)
    run(first, method, optimizer, range(3))
    saved = (first.state_dict(), method.state_dict(), optimizer.state_dict())
    torch.save(saved, tmp_path / "state.pt")
    run(first, method, optimizer, range(3, 4))

    second = start
    method = attached(second)
    optimizer = optimizer_of(method, second)
    weights, of_method, of_optimizer = torch.load(tmp_path / "state.pt", weights_only=True)
    second.load_state_dict(weights)
    method.load_state_dict(of_method)
    optimizer.load_state_dict(of_optimizer)
    assert method.mask_loss_weight == 0
    run(second, method, optimizer, range(3, 4))
    for key, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key


def test_finalized_model_can_be_copied_after_training() -> None:
    model = small_net("vgg").train()
    method = attached(model, mode="joint")
    images = torch.rand(2, 3, 32, 32)
    method.extra_loss(model(images), torch.zeros(2))
    method.end_epoch(0)
    final = copy.deepcopy(method.finalize(model)).eval()
    with torch.inference_mode():
        assert torch.equal(final(images), model.eval()(images))
    assert gates_of(final).active().shape == (2, 5)


def test_excluded_layers_get_no_gate() -> None:
    model = small_net("resnet")
    method = attached(model, exclude=("layer2.*",))
    convs = [layer.conv for layer in method.gates.layers]
    assert len(convs) == 5 and not any("layer2" in conv for conv in convs)
    after = next(layer for layer in method.gates.layers if layer.conv == "layer3.0.conv1")
    assert after.previous is None


def test_method_is_registered_as_dynamic() -> None:
    assert methods.get("ftwt") is FTWT
    assert FTWT.kind == "dynamic"
    with pytest.raises(RuntimeError, match="call attach"):
        _ = FTWT(FTWTSettings()).gates
    with pytest.raises(ValueError):
        FTWTSettings(mass=1.5)
