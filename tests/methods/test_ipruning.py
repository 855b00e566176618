"""Differential evolution, selection and the methods around a training step."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import squeezenet1_1

from harness import models
from methods.base import Schedule
from methods.ipruning import EDropout, IPruning, draw_parents, evolve, ising_energy, select
from methods.ipruning.candidate_masks import CutParameters, MaskedParameters, candidate_logits
from methods.ipruning.channel_blocks import BLOCK, block_indices
from methods.ipruning.filter_layout import apply_state_, describe, unpack_bits
from methods.ipruning.plain_channels import GatedLinear, PlainChannels
from methods.ipruning.released import IP_WINDOW, has_converged
from methods.ipruning.residual_channels import skeleton_of
from tests.methods.ipruning_cases import FIXTURES, TinyNet, arrays, lived_in, stored_tinynet

RTOL_RUN = 1e-9  # stored search: float64 sums in another order
ATOL_STEP = 2e-6  # one float32 Adadelta step, order of summation
ATOL_LOGITS = 1e-5  # float32 logits of a cut and a masked network, order of summation

EVOLUTION = arrays("de_generation")


@pytest.mark.parametrize("case", ["ip_a", "ip_b", "ip_c", "ed_d", "ed_e"])
def test_evolution_gives_the_stored_trials(case: str) -> None:
    part = {key[len(case) + 1 :]: EVOLUTION[key] for key in EVOLUTION if key.startswith(case)}

    trial = evolve(
        part["pop"], part["parents"], part["rand_mut"], part["rand_cr"], int(part["n_forced"])
    )

    assert torch.equal(trial, part["trial"])


def test_selection_keeps_the_old_state_on_ties() -> None:
    stored = {key[4:]: EVOLUTION[key] for key in EVOLUTION if key.startswith("sel_")}

    population, costs, best = select(
        stored["pop"], stored["trial"], stored["cost_old"], stored["cost_new"]
    )

    assert torch.equal(population, stored["out_pop"])
    assert torch.equal(costs, stored["out_cost"])
    assert torch.equal(population[best], stored["out_best"])
    assert costs[best] == stored["out_best_cost"]
    assert costs.mean() == pytest.approx(float(stored["out_mean_cost"]), rel=RTOL_RUN)


@pytest.mark.parametrize("variant", ["intended", "official"])
def test_a_search_of_twelve_generations_repeats_the_stored_one(variant: str) -> None:
    run = arrays("de_run")
    scrambled = variant == "official"
    population = run["init_pop"]
    costs = ising_energy(population, run["interaction"], scrambled=scrambled)
    best_costs, mean_costs, ones = [], [], []
    for parents, mutation, crossover in zip(
        run["parents"], run["rand_mut"], run["rand_cr"], strict=True
    ):
        trial = evolve(population, parents, mutation, crossover, int(run["n_forced"]))
        trial_costs = ising_energy(trial, run["interaction"], scrambled=scrambled)
        population, costs, best = select(population, trial, costs, trial_costs)
        best_costs.append(costs[best])
        mean_costs.append(costs.mean())
        ones.append(population[best].sum())

    assert torch.equal(population, run[f"{variant}_final_pop"])
    assert torch.equal(torch.stack(ones).double(), run[f"{variant}_on"])
    assert torch.equal(population[best], run[f"{variant}_best"])
    found = {
        "best_cost": torch.stack(best_costs),
        "mean_cost": torch.stack(mean_costs),
        "final_cost": costs,
    }
    for name, values in found.items():
        torch.testing.assert_close(values, run[f"{variant}_{name}"], rtol=RTOL_RUN, atol=0)


@settings(deadline=None, max_examples=15)
@given(st.integers(4, 6), st.integers(1, 12), st.integers(0, 2**31))
def test_every_gene_of_a_trial_follows_one_of_the_four_rules(
    candidates: int, size: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    population = torch.randint(0, 2, (candidates, size), generator=generator, dtype=torch.uint8)
    parents = draw_parents(candidates, generator, torch.device("cpu"))
    mutation, crossover = torch.rand((2, candidates, size), generator=generator)

    trial = evolve(population, parents, mutation, crossover)

    for i in range(candidates):
        a, b, c = parents[i].tolist()
        for d in range(size):
            expected = population[a, d]
            if mutation[i, d] > 0.9:
                agree = population[b, d] == population[c, d]
                expected = 1 - population[a, d] if agree else torch.tensor(0)
            if crossover[i, d] >= 0.9:
                expected = population[i, d]
            assert trial[i, d] == expected


@settings(deadline=None, max_examples=30)
@given(st.integers(4, 20), st.integers(0, 2**31))
def test_parents_are_three_different_other_slots(candidates: int, seed: int) -> None:
    parents = draw_parents(
        candidates, torch.Generator().manual_seed(seed), torch.device("cpu")
    ).tolist()

    assert all(len({slot, *row}) == 4 for slot, row in enumerate(parents))


def test_the_released_stop_rules_repeat_the_stored_cases() -> None:
    for case in json.loads((FIXTURES / "convergence.json").read_text()):
        assert has_converged(case["costs"], 10) == case["edropout_window10"]
        assert has_converged(case["costs"], IP_WINDOW) == case["ipruning_window50"]


def test_the_stop_rule_refuses_an_empty_history() -> None:
    with pytest.raises(ValueError, match="no best cost"):
        has_converged([], 10)


def trained_step(method: Any, model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    """Loss of one step as the training loop does it, with the paper's Adadelta."""
    optimizer = torch.optim.Adadelta(model.parameters(), 1.0, 0.9, 1e-6, weight_decay=1e-5)
    optimizer.zero_grad()
    method.begin_step(0, images, targets)
    loss = nn.functional.cross_entropy(model(images), targets)
    loss.backward()
    method.after_backward()
    optimizer.step()
    method.after_step()
    return loss.detach()


def attached(method: Any, model: nn.Module) -> Any:
    method.attach(model, Schedule(epochs=2, steps_per_epoch=3, seed=1))
    method.begin_epoch(0)
    return method


@pytest.mark.parametrize("variant", ["released", "intended"])
def test_a_training_step_repeats_the_stored_one(variant: str) -> None:
    """The state is fixed, so that only masks, gradients, restore and optimizer are at work."""
    stored = arrays("tinynet_ipruning")
    model = stored_tinynet()
    method = attached(IPruning(IPruning.Settings(variant=variant)), model)
    method.best, method.converged = stored["state"], True

    loss = trained_step(method, model, stored["x"], stored["y"])

    torch.testing.assert_close(loss.double(), stored["step_loss"][0], rtol=0, atol=1e-6)
    for name, parameter in model.named_parameters():
        norm = len(parameter.shape) == 1 and name != "fc.bias"
        if not norm or variant == "released":
            expected = stored[f"step|{name}"]
            torch.testing.assert_close(parameter.detach(), expected, rtol=0, atol=ATOL_STEP)


def test_intended_leaves_masked_scales_as_they_were() -> None:
    stored = arrays("tinynet_ipruning")
    model = stored_tinynet()
    method = attached(IPruning(IPruning.Settings()), model)
    method.best, method.converged = stored["state"], True

    trained_step(method, model, stored["x"], stored["y"])

    off = stored["state"][:12] == 0
    decay = 1e-4  # weight decay alone, amplified by the first Adadelta step
    change = (model.bn1.weight.detach() - stored["w|bn1.weight"]).abs()
    assert change[off].max() < decay < change[~off].min()
    assert model.bn1.weight.detach()[off].abs().min() > 0.1


def batch(count: int = 6, seed: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 12, 8, 8, generator=generator)
    return images, torch.randint(0, 5, (count,), generator=generator)


def random_states(count: int, size: int, seed: int = 0) -> Tensor:
    """Random states of many densities; the first is all off, the last all on."""
    generator = torch.Generator().manual_seed(seed)
    density = torch.linspace(0, 1, count)[:, None]
    return (torch.rand(count, size, generator=generator) < density).to(torch.uint8)


@pytest.mark.parametrize("method_class", [IPruning, EDropout])
@pytest.mark.parametrize("bottleneck", [False, True])
def test_the_forward_pass_of_a_step_is_that_of_the_masked_network(
    method_class: Any, bottleneck: bool
) -> None:
    model = lived_in(TinyNet(bottleneck))
    masked = copy.deepcopy(model)
    images, targets = batch()
    method = attached(method_class(method_class.Settings()), model)

    method.begin_step(0, images, targets)
    outputs = model(images)

    apply_state_(masked, method.layout, method.best)
    assert 0 < int(method.best.sum()) < method.layout.size
    torch.testing.assert_close(outputs, masked(images), rtol=0, atol=ATOL_LOGITS)


@pytest.mark.parametrize("layout", ["ip", "ed06"])
def test_gradients_vanish_exactly_where_the_forward_pass_is_masked(layout: str) -> None:
    model = lived_in(TinyNet(bottleneck=True))
    before = copy.deepcopy(model.state_dict())
    images, targets = batch()
    method = attached(EDropout(EDropout.Settings(layout=layout)), model)

    method.begin_step(0, images, targets)
    nn.functional.cross_entropy(model(images), targets).backward()
    method.after_backward()
    method.after_step()

    parameters = dict(model.named_parameters())
    for group in method.layout.groups:
        off = method.best[group.start : group.stop] == 0
        for entry in group.masked:
            gradient = parameters[entry.name].grad
            assert gradient is not None
            assert gradient.movedim(entry.axis, 0)[off].abs().sum() == 0
            assert torch.equal(parameters[entry.name].detach(), before[entry.name])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_channels_that_stay_fill_whole_blocks(drawn: list[bool]) -> None:
    bits = torch.tensor(drawn)
    kept, on = block_indices(bits), bits.nonzero().flatten()
    assert set(on.tolist()) <= set(kept.tolist()) and kept.tolist() == sorted(set(kept.tolist()))
    assert len(kept) == len(bits) or len(kept) % BLOCK == 0 < len(kept)
    assert len(kept) - len(on) < BLOCK or not drawn.count(True)


@pytest.mark.parametrize("block", [1, 3, BLOCK])  # the last one: more than the network is wide
@pytest.mark.parametrize("bottleneck", [False, True])
def test_cut_candidates_give_the_logits_of_masked_ones(
    bottleneck: bool, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("methods.ipruning.channel_blocks.BLOCK", block)
    model = lived_in(TinyNet(bottleneck)).eval()
    layout = describe(model)
    states = random_states(9, layout.size)
    images, _ = batch()

    cut = candidate_logits(model, states, CutParameters(model, layout, skeleton_of(model)), images)

    masked = candidate_logits(model, states, MaskedParameters(model, layout), images)
    torch.testing.assert_close(cut, masked, rtol=0, atol=ATOL_LOGITS)
    for state, logits in zip(states, cut, strict=True):
        plain = copy.deepcopy(model)
        apply_state_(plain, layout, state)
        torch.testing.assert_close(logits, plain(images), rtol=0, atol=ATOL_LOGITS)


@pytest.mark.parametrize(
    "name", ["alexnet", "squeezenet1_1", pytest.param("vgg11", marks=pytest.mark.slow)]
)
def test_plain_networks_cut_their_candidates_too(name: str) -> None:
    torch.manual_seed(0)
    side = 32 if name == "vgg11" else 64
    model = torchvision.models.get_model(name, num_classes=4).eval()
    layout = describe(model)
    states = random_states(3, layout.size)
    states[1, : layout.groups[1].stop] = 0  # two layers with no filter left
    images = torch.randn(2, 3, side, side)

    cut = candidate_logits(model, states, PlainChannels(model, layout), images)

    masked = candidate_logits(model, states, MaskedParameters(model, layout), images)
    torch.testing.assert_close(cut, masked, rtol=0, atol=ATOL_LOGITS)
    assert not any(isinstance(layer, GatedLinear) for layer in model.modules())


def test_a_search_selects_the_same_states_cut_and_masked() -> None:
    torch.manual_seed(0)
    model = squeezenet1_1(num_classes=4)
    searches = []
    for masked in (False, True):
        network = copy.deepcopy(model)
        method = attached(EDropout(EDropout.Settings(candidates=6)), network)
        assert isinstance(method._stand_ins, PlainChannels)
        if masked:
            method._stand_ins = MaskedParameters(network, method.layout)
        searches.append((method, network))

    for step in range(5):
        images, targets = torch.randn(4, 3, 48, 48), torch.tensor([0, 1, 2, 3])
        before = searches[0][0].population.clone()
        for method, network in searches:
            torch.manual_seed(step)  # the dropout of the classifier
            trained_step(method, network, images, targets)
        cut, masked = (method for method, _ in searches)
        assert torch.equal(cut.population, masked.population)
        assert torch.equal(cut.best, masked.best)
        assert not torch.equal(before, cut.population)


def test_networks_with_batch_norm_or_of_ones_own_are_no_plain_chain() -> None:
    model = squeezenet1_1(num_classes=4)
    layout = describe(model)
    model.features[1] = nn.BatchNorm2d(64)
    for network, bits in ((model, layout), (TinyNet(), describe(TinyNet()))):
        with pytest.raises(ValueError, match="no (layer of a )?plain chain"):
            PlainChannels(network, bits)


class Viewing(nn.Module):
    """A network of one's own whose forward pass works in one order of memory only."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.flat = flat
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.fc = nn.Linear(8 * 16 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 3, 16, 16) if self.flat else x
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.fc(x.view(x.shape[0], -1))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("variant", ["intended", "released"])
@pytest.mark.parametrize("method_class", [IPruning, EDropout])
def test_a_network_of_ones_own_may_ask_for_one_order_of_memory(
    method_class: Any, variant: str, flat: bool
) -> None:
    torch.manual_seed(0)
    model = Viewing(flat)
    method = attached(method_class(method_class.Settings(variant=variant)), model)
    images, targets = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 3])
    trained_step(method, model, images.flatten(1) if flat else images, targets)
    assert method.generations == 1


@pytest.mark.parametrize("method_class", [IPruning, EDropout])
def test_candidates_leave_statistics_and_modes_alone(method_class: Any) -> None:
    model = lived_in(TinyNet())
    model.layer1.eval()  # a part the user froze
    before = copy.deepcopy(model.state_dict())
    method = attached(method_class(method_class.Settings()), model)

    method.begin_step(0, *batch())

    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.bn1.training and not model.layer1[0].bn1.training


def test_live_costs_belong_to_the_current_batch_and_stale_ones_do_not() -> None:
    for live in (True, False):
        model = lived_in(TinyNet())
        method = attached(EDropout(EDropout.Settings(live_costs=live)), model)
        method.begin_step(0, *batch(seed=1))
        method.after_step()
        images, targets = batch(seed=2)
        method.begin_step(1, images, targets)
        method.after_step()

        now = method.costs_of(method.population, images, targets)
        assert torch.allclose(now, method._costs) is live


def test_the_best_state_is_the_cheapest_of_the_population() -> None:
    model = lived_in(TinyNet())
    images, targets = batch()
    method = attached(EDropout(EDropout.Settings()), model)
    method.begin_step(0, images, targets)
    method.after_step()

    costs = method.costs_of(torch.cat([method.population, method.best[None]]), images, targets)

    assert costs[-1] == costs[:-1].min()


def test_options_evaluate_fewer_images_and_fewer_batches() -> None:
    images, targets = batch()
    chosen = EDropout.Settings(evaluate_images=2, evaluate_every=3, live_costs=False)
    part = attached(EDropout(chosen), lived_in(TinyNet()))
    small = attached(EDropout(EDropout.Settings(live_costs=False)), lived_in(TinyNet()))
    for module in (part, small):
        module.model.load_state_dict(lived_in(stored_tinynet()).state_dict())

    part.begin_step(0, images, targets)
    small.begin_step(0, images[:2], targets[:2])
    assert torch.equal(part.population, small.population)

    for step in (1, 2):
        part.begin_step(step, images, targets)
    assert part.generations == 1
    part.begin_step(3, images, targets)
    assert part.generations == 2


@pytest.mark.parametrize("method_class", [IPruning, EDropout])
@pytest.mark.parametrize("variant", ["intended", "released"])
def test_a_resumed_search_goes_on_bit_for_bit(method_class: Any, variant: str) -> None:
    settings_ = method_class.Settings(variant=variant)
    model = lived_in(stored_tinynet())
    method = attached(method_class(settings_), model)
    trained_step(method, model, *batch(seed=1))
    stored = copy.deepcopy((model.state_dict(), method.state_dict()))
    trained_step(method, model, *batch(seed=2))

    again = lived_in(stored_tinynet(), seed=9)
    resumed = attached(method_class(settings_), again)
    again.load_state_dict(stored[0])
    resumed.load_state_dict(stored[1])
    trained_step(resumed, again, *batch(seed=2))

    assert torch.equal(resumed.population, method.population)
    assert torch.equal(resumed.best, method.best)
    for key, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[key])


def test_a_state_of_another_network_is_refused_on_resume() -> None:
    small = attached(IPruning(IPruning.Settings()), TinyNet())
    large = attached(IPruning(IPruning.Settings()), TinyNet(bottleneck=True))

    with pytest.raises(ValueError, match="another layout"):
        large.load_state_dict(small.state_dict())


def test_the_stored_state_is_packed_bits() -> None:
    method = attached(IPruning(IPruning.Settings()), TinyNet())

    stored = method.state_dict()

    assert stored["best"].dtype == torch.uint8 and len(stored["best"]) == 13  # 97 bits
    assert torch.equal(unpack_bits(stored["population"], 97), method.population)


def test_final_networks_differ_by_exactly_the_mask() -> None:
    model = lived_in(TinyNet())
    before = copy.deepcopy(model.state_dict())
    method = attached(IPruning(IPruning.Settings()), model)
    method.begin_step(0, *batch())
    method.after_step()
    method.end_epoch(0)
    images, _ = batch(seed=5)
    model.eval()
    seen_in_evaluation = model(images)

    full = method.full_network(model)
    shrunk = method.shrunk_network(model)
    pruned = method.finalize(model)

    assert all(torch.equal(value, before[key]) for key, value in full.state_dict().items())
    off = method.best[:12] == 0
    assert off.any() and (pruned.bn1.bias[off] == 0).all() and (pruned.conv1.weight[off] == 0).all()
    assert torch.equal(pruned.bn1.bias[~off].detach(), before["bn1.bias"][~off])
    assert not pruned._forward_hooks and not full._forward_hooks
    torch.testing.assert_close(pruned(images), seen_in_evaluation, rtol=0, atol=ATOL_LOGITS)
    torch.testing.assert_close(pruned(images), shrunk(images), rtol=0, atol=ATOL_LOGITS)


def test_the_search_stops_by_epoch_or_by_a_best_state_that_stands() -> None:
    ising = attached(IPruning(IPruning.Settings(early_epoch=5)), TinyNet())
    ising.begin_epoch(4)
    assert not ising.converged
    ising.unchanged.fill_(60)
    ising.generations = 999
    ising.begin_epoch(4)
    assert not ising.converged
    ising.generations = 1000
    ising.begin_epoch(4)
    assert ising.converged
    ising.converged = False
    ising.generations = 0
    ising.begin_epoch(5)
    assert ising.converged

    margin = attached(EDropout(EDropout.Settings(early_epoch=5)), TinyNet())
    margin.unchanged.fill_(10)
    margin.begin_epoch(4)
    assert not margin.converged
    margin.begin_epoch(5)
    assert margin.converged


def test_unchanged_generations_are_counted_and_reset() -> None:
    method = attached(IPruning(IPruning.Settings()), lived_in(TinyNet()))
    seen = []
    for step in range(25):
        before, count = method.best, int(method.unchanged)
        method.begin_step(step, *batch(seed=4))
        same = torch.equal(before, method.best)
        assert int(method.unchanged) == (count + 1 if same else 0)
        seen.append(same)
    assert True in seen and False in seen


def test_the_batch_limit_is_lifted_on_convergence() -> None:
    method = attached(IPruning(IPruning.Settings(batches_per_epoch=10, early_epoch=1)), TinyNet())
    assert method.batch_limit == 10
    method.begin_epoch(1)
    assert method.batch_limit is None


def test_a_step_without_its_batch_is_refused() -> None:
    method = attached(EDropout(EDropout.Settings()), TinyNet())

    with pytest.raises(ValueError, match="images or targets"):
        method.begin_step(0)


def test_squeezenet_trains_a_step_under_both_methods() -> None:
    images = torch.randn(2, 3, 48, 48)
    targets = torch.tensor([0, 6])
    for method_class in (IPruning, EDropout):
        model = squeezenet1_1(num_classes=7)
        method: Any = attached(method_class(method_class.Settings(candidates=4)), model)

        loss = trained_step(method, model, images, targets)

        assert torch.isfinite(loss)
        assert method.layout.size == 2944 + 512 + 7


class LargestTensor(TorchDispatchMode):
    """Remembers the largest number of elements any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def test_the_ising_energy_of_resnet18_builds_nothing_near_the_square_of_its_bits() -> None:
    model = models.build("resnet18_cifar", num_classes=10)
    method: Any = attached(IPruning(IPruning.Settings()), model)

    with LargestTensor() as largest:
        method.begin_step(0, torch.randn(2, 3, 32, 32), torch.tensor([1, 2]))

    widest_layer = 512 * 512 * 9  # on a CPU one layer after the other
    assert method.layout.size == 5322
    assert widest_layer <= largest.numel < 5322**2 // 10
