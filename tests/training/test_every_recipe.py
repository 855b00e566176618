"""Two steps of every recipe of the registry as it stands, and the numbers that its note names."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache

import pytest
import torch

from harness.data import EvaluationBatches, ImageIdentity, TrainBatches
from harness.data.batches import resident_batches
from harness.data.find_and_load import ImageSet
from harness.evaluation import evaluate
from harness.models import build
from harness.registry import Entry, Evaluation, Recipe, data_set, learning_rate, load, make_method
from harness.training import loop
from harness.training.loop import TrainingTask, train
from harness.training.optimizers import set_learning_rate
from harness.training.rounds import prune
from harness.training.run_folder import RunFolder
from harness.training.start_weights import initialise

REGISTRY = load()
STEPS = 2
# Recipes without an entry: what their name says they are for.
UNUSED = {
    "acdc": ("acdc", {"sparsity": 0.9}),
    "acdc-gmp": ("gmp", {"sparsity": 0.8}),
    "acdc-dense": ("dense", {}),
    "edropout": ("edropout", {}),
    "ftwt": ("ftwt", {}),
    "ipruning": ("ipruning", {}),
    "standard": ("dense", {}),
}
# A method's work per step, made small: none of it is the recipe's.
QUICK = {"rd": {"calibration": "synthetic", "calibration_size": 4, "points": 3}}


class Enough(Exception):
    """Two steps were taken."""


class FewBatches(TrainBatches):
    """Ends the run when the third batch is asked for, and counts the labels of the first two."""

    def epoch(self, number, skip=0):
        for taken, batch in enumerate(super().epoch(number, skip)):
            if taken == STEPS:
                raise Enough
            yield batch


def user_of(recipe: Recipe) -> Entry:
    """An entry that is trained by the recipe; for unused recipes one made up on the spot."""
    for entry in REGISTRY.entries.values():
        if entry.recipe == recipe.name:
            return entry
    family = max((name for name in UNUSED if recipe.name.startswith(name)), key=len)
    method, settings = UNUSED[family]
    if recipe.prune is not None:
        method = "magnitude"
    gray = "gray" in recipe.name or "mnist" in recipe.name
    template = REGISTRY.get("dense-lenet300-mnist-han" if gray else "dense-resnet20-cifar10")
    return replace(template, method=method, model="any", settings=settings, recipe=recipe.name)


def network(entry: Entry) -> torch.nn.Module:
    """LeNets as they are; a tiny network in place of the large ones."""
    shape = data_set(entry.dataset)
    name = entry.model if entry.model.startswith("lenet") else "convnet_tiny"
    torch.manual_seed(0)
    return build(name, num_classes=shape.classes, in_channels=shape.channels)


@cache
def pictures(count: int, channels: int, side: int, classes: int) -> ImageSet:
    drawn = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, channels, side, side), generator=drawn).to(torch.uint8)
    labels = torch.randint(0, classes, (count,), generator=drawn)
    identity = ImageIdentity(
        dataset="made-up", split="train", fingerprint="f", copy_name="made up", n_total=count
    )
    return ImageSet(identity, images, labels)


def batches_of(recipe: Recipe, entry: Entry) -> tuple[FewBatches, EvaluationBatches, Evaluation]:
    evaluation, shape = REGISTRY.evaluations[entry.evaluation], data_set(entry.dataset)
    evaluation = replace(evaluation, resize=None, crop=None)
    side = 28 if entry.model.startswith("lenet") else 8
    made = pictures((STEPS + 1) * recipe.batch, shape.channels, side, shape.classes)
    few = FewBatches(
        made,
        batch_size=recipe.batch,
        mean=evaluation.mean,
        std=evaluation.std,
        channels=evaluation.channels,
        scale=evaluation.scale,
        seed=0,
    )
    return few, resident_batches(made.take(torch.arange(8)), evaluation, "cpu", 8), evaluation


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rate of the first group of parameters at every step."""
    seen: list[float] = []

    def look(optimizer, rate_of):
        set_learning_rate(optimizer, rate_of)
        seen.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(loop, "set_learning_rate", look)
    return seen


@pytest.mark.parametrize("recipe", REGISTRY.recipes.values(), ids=lambda recipe: recipe.name)
def test_two_steps_of_every_recipe(recipe: Recipe, tmp_path, rates) -> None:
    recipe = replace(recipe, batch=min(recipe.batch, 16))  # time alone: 71 recipes on one core
    entry = user_of(recipe)
    settings = {**recipe.settings, **entry.settings, **QUICK.get(entry.method, {})}
    few, test, _ = batches_of(recipe, entry)
    model = network(entry)
    initialise(model, recipe.init)
    before = [(parameter, parameter.detach().clone()) for parameter in model.parameters()]
    job = TrainingTask(
        model=model,
        method=make_method(entry.method, settings),
        recipe=recipe,
        batches=few,
        evaluate=lambda net: evaluate(net, test),
        folder=RunFolder(tmp_path, "key"),
        seed=0,
    )
    # Images for methods that measure before a round; how many is not the recipe's matter here.
    images = next(iter(test))[0][:4]
    with pytest.raises(Enough):
        train(job) if recipe.prune is None else prune(job, lambda: images)

    length = recipe.length if recipe.length.count else recipe.prune.finetune  # type: ignore[union-attr]
    rate = recipe.optimizer.lr
    if not recipe.length.count and recipe.prune is not None and recipe.prune.lr is not None:
        rate = recipe.prune.lr
    total, per_epoch = length.to_steps(len(few)), len(few)
    expected = [learning_rate(recipe.schedule, rate, s, per_epoch, total) for s in range(STEPS)]
    assert rates[-STEPS:] == pytest.approx(expected, rel=1e-12, abs=0)
    state = model.state_dict()
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())
    assert any(not torch.equal(parameter, old) for parameter, old in before)


def last_target_pct(recipe: Recipe) -> float:
    assert recipe.prune is not None and recipe.prune.targets[-1] is not None
    return 100 * recipe.prune.targets[-1]


def steps_per_epoch(recipe: Recipe, images: int) -> int:
    return math.ceil(images * (1 - recipe.validation_frac) / recipe.batch)


def printed_sparsity(recipe: Recipe) -> str:
    return user_of(recipe).published["sparsity_pct"].text


def lottery(recipe: Recipe) -> None:
    assert steps_per_epoch(recipe, 60_000) == 917


def centroids(recipe: Recipe) -> None:
    assert str(recipe.length) == "2000it" and recipe.optimizer.lr <= 1e-3
    assert recipe.start is not None and REGISTRY.get(recipe.start).method == "han-magnitude"


def memorisation(recipe: Recipe) -> None:
    assert recipe.random_labels == 1000 and recipe.augmentation == type(recipe.augmentation)()


def gmp(recipe: Recipe) -> None:
    same = REGISTRY.recipes["acdc-imagenet-100ep"]
    assert (recipe.length, recipe.batch) == (same.length, same.batch)
    assert recipe.precision == same.precision
    assert recipe.settings["epochs"] == [1, 6, 11, 16, 21, 26, 31, 36]


def rounds_to_955(recipe: Recipe) -> None:
    assert f"{last_target_pct(recipe):.2f}" == "95.60"
    other = replace(recipe, prune=replace(recipe.prune, count=13))
    assert abs(last_target_pct(other) - 95.5) > abs(last_target_pct(recipe) - 95.5)


def ten_rounds(recipe: Recipe) -> None:
    assert recipe.prune is not None and recipe.prune.count == 10
    assert f"{last_target_pct(recipe):.2f}" == "89.26"


def two_rounds(recipe: Recipe) -> None:
    assert recipe.prune is not None and recipe.prune.count == 2
    assert f"{last_target_pct(recipe):.3f}" == "41.000"


def one_round(recipe: Recipe) -> None:
    assert recipe.prune is not None and recipe.prune.count == 1
    assert last_target_pct(recipe) == pytest.approx(float(printed_sparsity(recipe)))


def three_steps(recipe: Recipe) -> None:
    assert str(recipe.length) == "75000it" and recipe.schedule.milestones == (25_000, 50_000)


def five_rounds(recipe: Recipe) -> None:
    rounds = recipe.prune
    assert rounds is not None and (rounds.count, str(rounds.finetune)) == (5, "10000it")
    assert rounds.lr == pytest.approx(recipe.optimizer.lr / 10)


# Recipe -> whether the numbers of its note are those of its values.
PROMISES = {
    "acdc-resnet20-memorisation-200ep": memorisation,
    "acdc-gmp-resnet50-100ep": gmp,
    "rd-resnet-cifar10": rounds_to_955,
    "rd-vgg16-bn-imagenet": ten_rounds,
    "rd-resnet50-imagenet": two_rounds,
    "rd-resnet50-imagenet-one-shot": one_round,
    "rd-resnet50-imagenet-zero-data": one_round,
    "snip-mnist-75k": three_steps,
    "han-mnist-caffe-prune": five_rounds,
    "lottery-lenet300-9-rounds": lottery,
    "lottery-lenet300-15-rounds": lottery,
    "deep-compression-lenet300": centroids,
    "deep-compression-lenet5caffe": centroids,
}
# Numbers that are about somebody else's protocol, or the pictures.
OTHERS = {"standard-mnist", "standard-mnist-finetune", "rd-dense-vgg16-cifar10"}


@pytest.mark.parametrize("name", PROMISES)
def test_a_recipe_keeps_what_its_note_promises(name: str) -> None:
    PROMISES[name](REGISTRY.recipes[name])


def test_every_note_with_a_number_is_checked() -> None:
    named = {recipe.name for recipe in REGISTRY.recipes.values() if re.search(r"\d", recipe.note)}
    assert named == PROMISES.keys() | OTHERS
