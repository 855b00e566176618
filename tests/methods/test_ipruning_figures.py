"""What is left under a state: the published ratio and the counts of the cut network."""

from typing import Any

import pytest
import torch
from torch import nn

from methods.base import Schedule
from methods.ipruning import EDropout, IPruning
from methods.ipruning.dead_channels import shrink
from methods.ipruning.filter_layout import describe
from methods.ipruning.kept_figures import figures_of
from tests.methods.ipruning_cases import TinyNet, lived_in

SIZE = (8, 8)
ATOL_LOGITS = 1e-5  # float32 sums of fewer terms, in another order


def a_state(size: int, always_on: int, seed: int = 0) -> torch.Tensor:
    state = (torch.rand(size, generator=torch.Generator().manual_seed(seed)) < 0.5).to(torch.uint8)
    state[size - always_on :] = 1
    return state


def test_structural_parameters_are_those_of_the_cut_network() -> None:
    model = TinyNet()
    layout = describe(model)
    state = a_state(layout.size, layout.always_on)

    found = figures_of(model, layout, state, SIZE)

    small = shrink(model, layout, state)
    assert found["structural_params"] == sum(p.numel() for p in small.parameters())
    assert found["dense_params"] == sum(p.numel() for p in model.parameters())
    assert found["structural_macs"] < found["dense_macs"]


def test_the_kept_ratio_and_its_parameters_go_together() -> None:
    model = TinyNet()
    layout = describe(model)
    found = figures_of(model, layout, a_state(layout.size, layout.always_on), SIZE)

    total = sum(p.numel() for p in model.parameters())
    assert 0 < found["kept_pct"] < 100
    assert found["params_millions"] * 1e6 == pytest.approx(found["kept_pct"] / 100 * total)


def test_networks_that_cannot_be_cut_have_a_ratio_only() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    layout = describe(model)

    found = figures_of(model, layout, torch.ones(layout.size, dtype=torch.uint8), SIZE)

    assert found == {"kept_pct": pytest.approx(100), "params_millions": pytest.approx(330e-6)}


def test_the_layout_that_keeps_constants_is_counted_by_its_own_rule() -> None:
    model = TinyNet()
    layout = describe(model, "ed06")

    found = figures_of(model, layout, a_state(layout.size, 0), SIZE)

    assert set(found) == {"kept_pct", "params_millions"}


@pytest.mark.parametrize("method_class", [IPruning, EDropout])
def test_the_full_network_keeps_everything_and_the_pruned_one_what_its_state_does(
    method_class: Any,
) -> None:
    found = {}
    for network in ("full", "pruned"):
        model = TinyNet()
        method = method_class(method_class.Settings(network=network))
        method.attach(model, Schedule(1, 1))
        method.best = a_state(method.layout.size, method.layout.always_on)
        final = method.finalize(model)
        zeros = sum(int((p == 0).sum()) for p in final.conv1.parameters())
        found[network] = (method.figures(final, [torch.zeros(1, 12, *SIZE)]), zeros)

    assert found["full"][0]["kept_pct"] == pytest.approx(100)
    assert found["full"][1] == 0 < found["pruned"][1]
    assert found["pruned"][0]["kept_pct"] < 100


def searched(method_class: Any, **chosen: Any) -> tuple[Any, nn.Module]:
    """A method with a state found, and its finished network."""
    model = lived_in(TinyNet())
    method = method_class(method_class.Settings(**chosen))
    method.attach(model, Schedule(epochs=1, steps_per_epoch=1, seed=1))
    method.begin_epoch(0)
    method.begin_step(0, torch.randn(4, 12, *SIZE), torch.arange(4))
    method.after_step()
    return method, method.finalize(model).eval()


@pytest.mark.parametrize("method_class", [IPruning, EDropout])
def test_the_network_without_dead_channels_is_timed_beside_the_dense_one(method_class: Any) -> None:
    method, model = searched(method_class)
    images = torch.randn(2, 12, *SIZE)

    dense, shrunk = method.timed(model).values()

    assert dense is model and list(method.timed(model)) == ["dense", "shrunk"]
    assert parameters(shrunk) < parameters(dense)
    torch.testing.assert_close(shrunk(images), dense(images), rtol=0, atol=ATOL_LOGITS)
    # times per layer are told under the dense network's names
    assert {name for name, m in shrunk.named_modules() if isinstance(m, nn.Conv2d)} <= {
        name for name, _ in dense.named_modules()
    }


def test_networks_that_lose_no_channel_are_timed_in_no_second_way() -> None:
    for method, model in (searched(IPruning, network="full"), searched(EDropout, layout="ed06")):
        assert method.timed(model) == {}


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
