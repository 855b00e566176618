"""Learning rates against torch's schedulers, and every bound of a recipe from both sides."""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature

import pytest
import torch
from torch.optim import lr_scheduler

from harness.registry.fields import Fault
from harness.registry.recipes import (
    Augmentation,
    Duration,
    LrSchedule,
    Optimizer,
    PruneRounds,
    Recipe,
    learning_rate,
)

EPOCHS, PER_EPOCH = 12, 5
TORCH: dict[str, tuple[LrSchedule, Callable[..., object]]] = {
    "cosine": (LrSchedule("cosine"), lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS)),
    "shorter cosine": (
        LrSchedule("cosine", t_max=7),
        lambda o: lr_scheduler.CosineAnnealingLR(o, 7),
    ),
    "multistep": (
        LrSchedule("multistep", milestones=(3, 7), gamma=0.3),
        lambda o: lr_scheduler.MultiStepLR(o, [3, 7], 0.3),
    ),
    "step": (LrSchedule("step", every=4, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 4, 0.5)),
    "inverse": (
        LrSchedule("inverse", gamma=0.2, power=0.75),
        lambda o: lr_scheduler.LambdaLR(o, lambda p: (1 + 0.2 * p) ** -0.75),
    ),
    "constant": (LrSchedule("constant"), lambda o: lr_scheduler.ConstantLR(o, 1.0)),
}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_rates_are_those_of_torchs_scheduler(name: str, unit: str) -> None:
    schedule, build = TORCH[name]
    schedule = LrSchedule(**{**{f: getattr(schedule, f) for f in schedule.__slots__}, "unit": unit})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
    theirs = build(optimizer)
    per_epoch = PER_EPOCH if unit == "epoch" else 1
    last = 7 if schedule.t_max else EPOCHS
    for position in range(last):
        for step in range(position * per_epoch, (position + 1) * per_epoch):
            rate = learning_rate(schedule, 0.4, step, PER_EPOCH, EPOCHS * per_epoch)
            assert rate == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        theirs.step()  # type: ignore[attr-defined]


def test_warm_up_climbs_to_the_base_rate_and_the_cosine_starts_there() -> None:
    schedule = LrSchedule("cosine", warmup=4)
    rates = [learning_rate(schedule, 1.0, 5 * epoch, 5, 60) for epoch in range(12)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[5:] == pytest.approx([0.5 + 0.5 * math.cos(math.pi * n / 8) for n in range(1, 8)])


def test_an_incomplete_last_epoch_belongs_to_the_cosine() -> None:
    # 11 steps of 5 an epoch are three epochs: the last rate is that of the third.
    rate = learning_rate(LrSchedule("cosine"), 1.0, 10, 5, 11)
    assert rate == pytest.approx(0.5 + 0.5 * math.cos(math.pi * 2 / 3))


def recipe(**facts: object) -> Recipe:
    plain: dict[str, object] = {
        "name": "plain",
        "version": 1,
        "length": Duration(2, "epoch"),
        "batch": 8,
        "optimizer": sgd(),
        "specified_by": "code",
    }
    return Recipe(**{**plain, **facts})  # type: ignore[arg-type]


def schedule(**facts: object) -> LrSchedule:
    return LrSchedule(**facts)  # type: ignore[arg-type]


def rounds(**facts: object) -> PruneRounds:
    plain: dict[str, object] = {"count": 1, "amount": 0.5, "finetune": Duration(1, "epoch")}
    return PruneRounds(**{**plain, **facts})  # type: ignore[arg-type]


def sgd(**facts: object) -> Optimizer:
    return Optimizer(**{"name": "sgd", "lr": 0.1, **facts})  # type: ignore[arg-type]


BOUNDS: list[tuple[Callable[..., object], str, list[object], list[object]]] = [
    (sgd, "lr", [0.0, 0.1], [-1e-9]),
    (sgd, "weight_decay", [0.0], [-1e-9]),
    (sgd, "eps", [0.0], [-1e-9]),
    (sgd, "bias_lr_factor", [0.0], [-1e-9]),
    (sgd, "momentum", [0, 0.999], [-0.001, 1, 1.0]),
    (sgd, "rho", [0, 0.999], [-0.001, 1]),
    (sgd, "nesterov", [False], [True]),  # without momentum
    (schedule, "warmup", [0, 1], [-1]),
    (schedule, "gamma", [0, 0.1], [-0.1]),
    (schedule, "milestones", [()], [(3,)]),  # of another kind
    (schedule, "every", [None], [1]),
    (schedule, "power", [None], [0.75]),
    (schedule, "t_max", [None], [5]),
    (lambda **f: schedule(kind="step", **f), "every", [1, 2], [None, 0, -1]),
    (lambda **f: schedule(kind="inverse", **f), "power", [0.0, 0.75], [None]),
    (lambda **f: schedule(kind="cosine", warmup=3, **f), "t_max", [4, None], [3, 2]),
    (
        lambda **f: schedule(kind="multistep", **f),
        "milestones",
        [(1,), (1, 2)],
        [(), (2, 1), (1, 1)],
    ),
    (Augmentation, "crop_padding", [0], [-1]),
    (Augmentation, "cutout", [0], [-1]),
    (rounds, "count", [1, 2], [0, -1]),
    (rounds, "amount", [0.001, 0.999, None], [0, 1, -0.1, 1.1]),
    (rounds, "recalibrate", [1, None], [0]),
    (rounds, "lr", [0.0, None], [-0.1]),
    (recipe, "version", [1], [0]),
    (recipe, "batch", [1], [0]),
    (recipe, "random_labels", [0], [-1]),
    (recipe, "train_images", [1, None], [0]),
    (recipe, "label_smoothing", [0, 0.999], [-0.001, 1]),
    (recipe, "validation_frac", [0, 0.999], [-0.001, 1]),
]


@pytest.mark.parametrize(
    ("make", "field", "good", "bad"), BOUNDS, ids=[f"{n}-{b[1]}" for n, b in enumerate(BOUNDS)]
)
def test_every_bound_takes_its_edge_and_nothing_beyond(
    make: Callable[..., object], field: str, good: list[object], bad: list[object]
) -> None:
    for value in good:
        assert getattr(make(**{field: value}), field) == value
    for value in bad:
        with pytest.raises(Fault) as caught:
            make(**{field: value})
        assert caught.value.path[0] == field


def test_nesterov_goes_with_any_momentum() -> None:
    assert sgd(nesterov=True, momentum=0.1).nesterov


def test_an_assumed_recipe_says_what_is_assumed() -> None:
    assert recipe(specified_by="assumed", note="the length", parts={}).assumed == "the length"
    assert recipe(specified_by="code", note="the length", parts={}).assumed == ""
    with pytest.raises(Fault, match="needs a note"):
        recipe(specified_by="assumed", note="", parts={})


def test_what_a_recipe_does_not_say_is_torchs_default() -> None:
    """Numbers that no paper prints are those its program ran with."""
    plain = sgd()
    theirs = {
        name: {
            key: p.default for key, p in signature(getattr(torch.optim, name)).parameters.items()
        }
        for name in ("SGD", "Adam", "AdamW", "Adadelta")
    }
    assert (plain.momentum, plain.weight_decay, plain.nesterov) == (
        theirs["SGD"]["momentum"],
        theirs["SGD"]["weight_decay"],
        theirs["SGD"]["nesterov"],
    )
    for name in ("Adam", "AdamW"):
        assert (plain.betas, plain.eps) == (theirs[name]["betas"], theirs[name]["eps"])
    assert plain.rho == theirs["Adadelta"]["rho"]


def test_a_recipe_that_says_nothing_more_does_nothing_more() -> None:
    plain = recipe()
    assert (plain.label_smoothing, plain.validation_frac, plain.random_labels) == (0.0, 0.0, 0)
    assert (plain.drop_last, plain.train_images, plain.prune) == (False, None, None)
    assert plain.augmentation == Augmentation(None, False, 0, 0, None)
    rates = [learning_rate(plain.schedule, 0.3, step, 4, 40) for step in range(40)]
    assert rates == [0.3] * 40
    assert sgd().bias_lr_factor == 1.0
