"""SNIP against stored scores, masks and steps, and on networks it was not made for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from harness.data import load
from harness.models import build
from methods.base import Schedule
from methods.initialisers import TRUNCATED_STD, caffe_xavier_, variance_scaling_
from methods.snip import Snip, SnipSettings, kappa, sensitivities, snip_masks
from tests.methods.mnist_fixtures import (
    arrays,
    case,
    counts,
    fill_,
    flat,
    network,
    ordered,
    tensor_names,
)

SMALL = ["mlp", "mlp_zero_bias", "mlp_dead", "conv", "conv_odd"]
LENETS = ["lenet300", "lenet5caffe"]
RTOL = 1e-6  # of the largest value, as the fixtures state
FLOAT32_DIFFERENCES = 2  # positions, likewise: the smallest gap between two scores is 6e-6
SCHEDULE = Schedule(epochs=1, steps_per_epoch=1, seed=3)


def snip(model: nn.Module, sparsity: float, seed: int = 3, **settings: Any) -> Snip:
    method = Snip(SnipSettings(sparsity=sparsity, **settings))
    method.attach(model, Schedule(1, 1, seed))
    return method


def scored(found: dict[str, Any]) -> tuple[Snip, dict[str, torch.Tensor]]:
    """The method on a stored network, and its signed dL/dc of the stored batch."""
    method = snip(network(found), 0.5)
    x, y = torch.from_numpy(found["x"]).double(), torch.from_numpy(found["y"])
    values = {n: p.detach().clone().requires_grad_() for n, p in method.weights.items()}
    method.settings = method.settings.model_copy(update={"images": len(y)})
    return method, {n: g * values[n] for n, g in method._gradients(values, [(x, y)]).items()}


@pytest.mark.parametrize("name", SMALL)
def test_scores_equal_those_of_an_explicit_backward_pass(name: str) -> None:
    found = case("snip_small", name)
    method, signed = scored(found)
    ones = {n: torch.ones_like(g) for n, g in signed.items()}
    scores = sensitivities(ones, signed)
    for stored, key in zip(tensor_names(found), method.weights, strict=True):
        for ours, theirs in ((signed, "dLdc"), (scores, "s")):
            want = found[f"{theirs}_{stored}"]
            largest = max(np.abs(found[f"{theirs}_{t}"]).max() for t in tensor_names(found))
            np.testing.assert_allclose(ours[key].detach(), want, rtol=0, atol=RTOL * largest)


@pytest.mark.parametrize("name", SMALL)
def test_masks_of_small_networks_are_exactly_the_stored_ones(name: str) -> None:
    found = case("snip_small", name)
    _, signed = scored(found)
    scores = sensitivities({n: torch.ones_like(g) for n, g in signed.items()}, signed)
    for i, level in enumerate(found["levels"]):
        masks = snip_masks(scores, float(level))
        assert np.array_equal(flat(masks), found[f"mask_{i}"].astype(bool))
        assert [int(m.sum()) for m in masks.values()] == found[f"kept_{i}"].tolist()
        assert kappa(len(found[f"mask_{i}"]), float(level)) == found[f"kappa_{i}"]


@pytest.mark.realdata
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", LENETS)
def test_masks_of_the_lenets_on_real_digits(name: str, dtype: torch.dtype) -> None:
    found = case("snip_lenets", name)
    model = build(name).to(dtype)
    fill_(model, [found[t] for t in tensor_names(found)])
    digits = load("mnist", "train")  # the pixels themselves are not in the repository
    assert np.array_equal(digits.labels[: len(found["y"])], found["y"])
    pixels = torch.as_tensor(digits.images[: len(found["y"])]).reshape(-1, 1, 28, 28).to(dtype)
    images = (pixels / 255 - float(found["mean"])) / float(found["std"])
    batch = (images, torch.from_numpy(found["y"]))
    for i, level in enumerate(found["levels"]):
        method = snip(model, float(level), initialisations=1)
        method.begin_training([batch])
        want = np.unpackbits(found[f"mask_{i}"])[: sum(m.numel() for m in method.masks.values())]
        differing = int((flat(method.masks) != want).sum())
        assert differing <= (0 if dtype == torch.float64 else FLOAT32_DIFFERENCES)
        assert sum(int(m.sum()) for m in method.masks.values()) == found[f"kappa_{i}"]
        if dtype == torch.float64:
            assert [int(m.sum()) for m in method.masks.values()] == found[f"kept_{i}"].tolist()
        fill_(model, [found[t] for t in tensor_names(found)])


@pytest.mark.parametrize("name", sorted({key.split("/")[0] for key in arrays("topk")}))
def test_ties_and_halves_go_as_the_released_program_has_them(name: str) -> None:
    found = case("topk", name)
    scores = torch.from_numpy(found["s"])
    assert kappa(len(scores), float(found["sparsity"])) == found["kappa"]
    masks = snip_masks({"all": scores}, float(found["sparsity"]))
    assert np.array_equal(masks["all"].numpy(), found["mask"].astype(bool))


@pytest.mark.parametrize("name", LENETS)
def test_kappa_is_the_float_product_of_all_parameters(name: str) -> None:
    stored = counts()
    for level, kept in stored["snip_kappa"][name].items():
        assert kappa(stored[name]["params_total"], float(level)) == kept


@pytest.mark.parametrize("name", ["mu0.0", "mu0.9"])
def test_masked_steps_from_another_initialisation(name: str) -> None:
    found = case("masked_sgd", name)
    model = network(found, "init_")
    method = snip(model, 0.5)
    names = tensor_names(found, "init_")
    masks = [torch.from_numpy(found[f"mask_{t}"]).bool() for t in names]
    method.set_masks(dict(zip(method.weights, masks, strict=True)))
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=0.1,
        momentum=float(found["momentum"]),
        weight_decay=float(found["weight_decay"]),
    )
    for step, lr in enumerate(found["lr"]):
        optimizer.param_groups[0]["lr"] = float(lr)
        x, y = torch.from_numpy(found["x"][step]).double(), torch.from_numpy(found["y"][step])
        loss = F.cross_entropy(model(x), y)
        assert loss.item() == pytest.approx(found["loss"][step], rel=RTOL)
        optimizer.zero_grad()
        loss.backward()
        method.after_backward()
        optimizer.step()
        method.after_step()
    for t, parameter in zip(names, ordered(model), strict=True):
        np.testing.assert_allclose(parameter.detach(), found[f"final_{t}"], rtol=0, atol=RTOL)


def one_batch(shape: tuple[int, ...] = (100, 1, 28, 28)) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(shape, generator=generator), torch.arange(shape[0]) % 10)]


def kept_biases(method: Snip) -> list[int]:
    return [int(m.sum()) for name, m in method.masks.items() if name.endswith("bias")]


def test_released_prunes_every_bias_and_paper_keeps_some() -> None:
    model = build("lenet300")
    released = snip(model, 0.95)
    released.begin_training(one_batch())
    assert kept_biases(released) == [0, 0, 0] and not model.fc1.bias.any()
    torch.manual_seed(0)
    paper = snip(build("lenet300"), 0.95, variant="paper")
    paper.begin_training(one_batch())
    first, second, third = kept_biases(paper)
    assert 0 < first < 150 and 0 < second < 100 and 5 < third <= 10  # 22, 40, 10 on digits


def test_released_scores_a_second_draw_and_paper_the_trained_weights() -> None:
    def masks(model: nn.Module, seed: int, **settings: Any) -> np.ndarray:
        method = snip(model, 0.9, seed, **settings)
        method.begin_training(one_batch())
        return flat(method.masks)

    torch.manual_seed(0)
    first, second = build("lenet300").state_dict(), build("lenet300").state_dict()

    def fresh(state: dict[str, torch.Tensor]) -> nn.Module:
        model = build("lenet300")
        model.load_state_dict(state)
        return model

    same = masks(fresh(first), 1)
    assert np.array_equal(same, masks(fresh(second), 1))  # the trained weights do not matter
    assert not np.array_equal(same, masks(fresh(first), 2))  # the seed does
    one = {"initialisations": 1}
    assert not np.array_equal(masks(fresh(first), 1, **one), masks(fresh(second), 1, **one))
    assert np.array_equal(masks(fresh(first), 1, **one), masks(fresh(first), 2, **one))


def test_scoring_leaves_kept_weights_and_batch_statistics_alone() -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_efficientnet", num_classes=10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    method = snip(model, 0.9, images=6)
    method.begin_training(one_batch((8, 3, 32, 32)))
    masks = dict(method.masks)
    total = sum(m.numel() for m in masks.values())
    assert sum(int(m.sum()) for m in masks.values()) == kappa(total, 0.9)
    for name, value in model.state_dict().items():
        want = before[name] * masks[name] if name in masks else before[name]
        assert torch.equal(value, want), name


def test_images_are_gathered_over_batches_and_no_more_than_asked_for() -> None:
    torch.manual_seed(0)
    (x, y), model = one_batch((30, 1, 28, 28))[0], build("lenet300").double()
    whole = snip(model, 0.9, images=25, initialisations=1)
    values = {n: p.detach().clone().requires_grad_() for n, p in whole.weights.items()}
    x = x.double()
    at_once = whole._gradients(values, [(x[:25], y[:25])])
    in_parts = whole._gradients(values, [(x[:10], y[:10]), (x[10:20], y[10:20]), (x[20:], y[20:])])
    for name in values:
        torch.testing.assert_close(at_once[name], in_parts[name], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="30; set settings.images"):
        snip(model, 0.9, images=31).begin_training([(x, y)])


def test_a_resumed_run_has_the_masks_of_the_first_step() -> None:
    model = build("lenet300")
    method = snip(model, 0.98)
    method.begin_training(one_batch())
    other = snip(build("lenet300"), 0.98)
    other.load_state_dict(method.state_dict())
    assert np.array_equal(flat(other.masks), flat(method.masks))
    assert not other.finalize(build("lenet300")).fc1.weight[~method.masks["fc1.weight"]].any()


def test_draws_have_the_variance_that_they_are_named_for() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = variance_scaling_(torch.empty(300, 784), generator)
    sigma = (1 / 784) ** 0.5
    assert weight.std().item() == pytest.approx(sigma, rel=0.01)
    assert weight.abs().max().item() <= 2 * sigma / TRUNCATED_STD
    xavier = caffe_xavier_(torch.empty(50, 20, 5, 5), generator)
    assert 0.999 * (3 / 500) ** 0.5 < xavier.abs().max().item() <= (3 / 500) ** 0.5


def test_a_missing_sparsity_is_refused() -> None:
    with pytest.raises(ValueError, match="sparsity=0.9"):
        Snip(SnipSettings()).attach(build("lenet300"), SCHEDULE)


class Attention(nn.Module):
    """Four tokens of six values, one fused attention, a classifier; no biases."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.MultiheadAttention(6, 2, bias=False, batch_first=True)
        self.fc = nn.Linear(24, 3, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mixed = self.mix(tokens, tokens, tokens, need_weights=False)[0]
        return self.fc(mixed.flatten(1))


@pytest.mark.parametrize(
    ("exclude", "rows"),
    [
        ((), slice(0, 18)),
        (("mix.in_proj.k",), [*range(6), *range(12, 18)]),
        (("fc",), slice(0, 18)),
    ],
)
def test_fused_projections_are_scored_like_any_weight(exclude, rows) -> None:
    torch.manual_seed(0)
    model = Attention()
    images, targets = torch.randn(10, 4, 6), torch.arange(10) % 3
    F.cross_entropy(model(images), targets).backward()
    scores = {
        "mix.in_proj": (model.mix.in_proj_weight * model.mix.in_proj_weight.grad)[rows],
        "mix.out_proj": model.mix.out_proj.weight * model.mix.out_proj.weight.grad,
        "fc": model.fc.weight * model.fc.weight.grad,
    }
    scores = {name: score for name, score in scores.items() if name not in exclude}
    flat_scores = torch.cat([score.flatten() for score in scores.values()]).detach().abs()
    limit = flat_scores.sort().values[len(flat_scores) // 2]
    method = snip(model, 0.5, images=10, exclude=exclude, variant="paper")
    method.begin_training(iter([(images[:6], targets[:6]), (images[6:], targets[6:])]))
    weight = model.mix.in_proj_weight.detach()
    assert torch.equal((weight != 0)[rows], scores["mix.in_proj"].detach().abs() >= limit)
    assert int((weight == 0).sum()) == int((weight[rows] == 0).sum())
    assert sum(int(mask.sum()) for mask in method.masks.values()) == len(flat_scores) // 2
