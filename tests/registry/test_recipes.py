"""Recipes against the schedules of the original code, and every way to get one wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import registry
from harness.errors import SettingsError
from harness.registry.fields import Fault, from_mapping, plain
from harness.registry.overrides import Override, assigned, assignment, with_overrides
from harness.registry.recipes import (
    Duration,
    LrSchedule,
    PruneRounds,
    Recipe,
    learning_rate,
    recipe_sha256,
)

FIXTURES = Path(__file__).parent.parent / "fixtures"
RTOL_LR = 1e-9  # as the fixtures state: the same formula, another order of operations
STEPS = 7  # per epoch, in tests of per-epoch schedules
MINIMAL = {
    "version": 1,
    "length": "10ep",
    "batch": 8,
    "optimizer": {"name": "sgd", "lr": 0.1},
    "specified_by": "paper",
}


def recipe_from(name: str, mapping: Mapping[str, object]) -> Recipe:
    return from_mapping(Recipe, {**mapping, "name": name})


def epoch_rates(recipe_name: str) -> list[float]:
    recipe = registry.load().recipes[recipe_name]
    epochs = recipe.length.to_epochs(STEPS)
    return [
        learning_rate(recipe.schedule, recipe.optimizer.lr, e * STEPS, STEPS, epochs * STEPS)
        for e in range(epochs)
    ]


ACDC_CONFIGS = {
    "iht_imagenet_resnet50_insta_cosinelr_s90_ep100": "acdc-imagenet-100ep",
    "iht_imagenet_resnet50_insta_cosinelr_s95_ep100_unif": "acdc-imagenet-100ep",
    "iht_imagenet_resnet50_cosinelr_sp_2_4_ep100": "acdc-imagenet-100ep",
    "iht_imagenet_mobilenet_insta_cosinelr_s75_ep100": "acdc-mobilenetv1-100ep",
    "iht_imagenet_resnet50_insta_cosinelr_s90_ep200_unif": "acdc-imagenet-200ep",
    "iht_cifar100_wideresnet_steplr_freq20_s50": "acdc-wrn-freq20-200ep",
    "iht_cifar100_wideresnet_steplr_dense13_s50": "acdc-wrn-dense13-225ep",
    "iht_cifar10_resnet20_unstructured_insta_prune_freq20_95_constant": (
        "acdc-resnet20-memorisation-200ep"
    ),
}
DENSE_CONFIGS = {
    "imagenet_resnet50_gmp_sp80": "acdc-gmp-resnet50-100ep",
    "imagenet_resnet50_best_dense": "acdc-dense-resnet50-100ep",
    "imagenet_mobilenet_cosinelr_ep100_dense": "acdc-dense-mobilenetv1-100ep",
    "iht_imagenet_resnet50_insta_cosinelr_s90_ep150_ftdense": "acdc-imagenet-150ep",
}


@pytest.mark.parametrize(("config", "name"), (ACDC_CONFIGS | DENSE_CONFIGS).items())
def test_learning_rate_equals_the_original_acdc_code(config: str, name: str) -> None:
    original = json.loads((FIXTURES / "acdc/schedules.json").read_text())[config]
    assert epoch_rates(name) == pytest.approx(original["lr"], rel=RTOL_LR, abs=0)


@pytest.mark.parametrize(("config", "name"), ACDC_CONFIGS.items())
def test_phases_equal_those_of_the_original_acdc_code(config: str, name: str) -> None:
    original = json.loads((FIXTURES / "acdc/schedules.json").read_text())[config]
    recipe = registry.load().recipes[name]
    assert recipe.settings["compress"] == original["compress_epochs"]
    assert recipe.settings["decompress"] == original["decompress_epochs"]
    assert recipe.length.count == original["epochs"]


def test_150_epoch_phases_follow_the_stated_ranges() -> None:
    # The fixtures hold no sparse 150-epoch run; start, frequency, end as in its configuration.
    recipe = registry.load().recipes["acdc-imagenet-150ep"]
    assert recipe.settings["compress"] == [*range(10, 121, 10), *range(135, 150, 20)]
    assert recipe.settings["decompress"] == [*range(15, 116, 10), *range(125, 134, 20)]


@pytest.mark.parametrize("config", ["repo_config", "short"])
def test_learning_rate_equals_the_original_str_code(config: str) -> None:
    original = json.loads((FIXTURES / "str/schedules.json").read_text())[config]
    schedule = LrSchedule("cosine", warmup=original["warmup_length"])
    total = original["epochs"] * STEPS
    rates = [
        learning_rate(schedule, original["lr"], e * STEPS, STEPS, total)
        for e in range(original["epochs"])
    ]
    assert rates == pytest.approx(original["lr_per_epoch"], rel=RTOL_LR, abs=0)


def test_str_recipe_ends_at_the_rate_the_spec_prints() -> None:
    assert epoch_rates("str-resnet50-100ep")[-1] == pytest.approx(6.998306e-05, rel=1e-6)


def test_rate_by_epoch_is_constant_within_an_epoch() -> None:
    schedule = LrSchedule("cosine", warmup=2)
    rates = {learning_rate(schedule, 1.0, 21 + i, STEPS, 70) for i in range(STEPS)}
    assert len(rates) == 1


def test_rate_by_step_moves_with_every_step() -> None:
    schedule = LrSchedule("cosine", unit="step", t_max=4)
    rates = [learning_rate(schedule, 2.0, s, STEPS, 100) for s in range(5)]
    half = math.sqrt(0.5)
    assert rates == pytest.approx([2.0, 1 + half, 1.0, 1 - half, 0.0], abs=1e-15)


def test_milestone_is_the_first_position_with_the_lower_rate() -> None:
    schedule = LrSchedule("multistep", unit="step", milestones=(2, 4), gamma=0.5)
    assert [learning_rate(schedule, 1.0, s, 1, 6) for s in range(6)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_step_schedule_falls_every_n_epochs() -> None:
    schedule = LrSchedule("step", every=2, gamma=0.1)
    rates = [learning_rate(schedule, 1.0, s, 1, 5) for s in range(5)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_constant_rate_is_reached_after_warm_up() -> None:
    schedule = LrSchedule("constant", warmup=4)
    assert [learning_rate(schedule, 1.0, s, 1, 9) for s in (0, 3, 4, 8)] == [0.25, 1, 1, 1]


@given(st.integers(0, 10**9), st.sampled_from(["ep", "it"]), st.integers(1, 10**4))
@settings(deadline=None, max_examples=50)
def test_duration_survives_its_text_form(count: int, unit: str, steps: int) -> None:
    duration = Duration.parse(f"{count}{unit}")
    assert str(duration) == f"{count}{unit}"
    assert duration.to_steps(steps) == (count * steps if unit == "ep" else count)


@pytest.mark.parametrize(("text", "epochs"), [("10ep", 10), ("10it", 2), ("14it", 2), ("15it", 3)])
def test_incomplete_last_epoch_counts(text: str, epochs: int) -> None:
    assert Duration.parse(text).to_epochs(STEPS) == epochs


@pytest.mark.parametrize("text", ["160", "ep", "1.5ep", "-1ep", "160 ep", 160, None, ""])
def test_other_durations_are_refused(text: object) -> None:
    with pytest.raises(Fault, match="160ep"):
        Duration.parse(text)


def test_round_targets_compound() -> None:
    rounds = PruneRounds(3, 0.2, Duration(1, "epoch"))
    assert rounds.targets == pytest.approx((0.2, 0.36, 0.488))


@pytest.mark.parametrize(
    ("name", "percent"),
    [
        ("rd-vgg16-cifar10", 98.85),
        ("rd-vgg16-bn-imagenet", 89.26),
        ("rd-resnet50-imagenet", 41.0),
        ("rd-resnet-cifar10", 95.60),
    ],
)
def test_rd_rounds_end_at_the_sparsity_the_spec_derives(name: str, percent: float) -> None:
    rounds = registry.load().recipes[name].prune
    assert rounds is not None
    assert round(100 * rounds.targets[-1], 2) == percent


# Section 3 of the rate-distortion description: (steps, batch, optimizer, rate, decay, cosine end).
RD_STEPS = {
    "rd-dense-resnet-cifar10": ("50000it", 100, "adamw", 3e-4, 0.01, 50000),
    "rd-dense-vgg16-cifar10": ("20000it", 100, "adamw", 3e-4, 0.01, None),
    "rd-dense-densenet121-cifar10": ("80000it", 100, "adamw", 3e-4, 0.01, None),
    "rd-dense-efficientnet-cifar10": ("50000it", 100, "adamw", 3e-4, 0.01, None),
    "rd-resnet-cifar10": ("80000it", 100, "adamw", 3e-4, 0.01, None),
    "rd-vgg16-cifar10": ("40000it", 100, "adamw", 3e-4, 0.01, None),
    "rd-densenet121-cifar10": ("60000it", 100, "adamw", 3e-4, 0.01, None),
    "rd-efficientnet-cifar10": ("40000it", 100, "adamw", 3e-4, 0.01, None),
    "rd-vgg16-bn-imagenet": ("80000it", 32, "sgd", 0.01, 1e-4, 80000),
    "rd-resnet50-imagenet": ("40000it", 64, "sgd", 0.01, 1e-4, 40000),
    "rd-resnet50-imagenet-one-shot": ("40000it", 64, "sgd", 0.01, 1e-4, 40000),
    "rd-resnet50-imagenet-zero-data": ("40000it", 64, "sgd", 0.01, 1e-4, 40000),
}


@pytest.mark.parametrize("name", RD_STEPS)
def test_rd_recipes_have_the_numbers_of_the_published_program(name: str) -> None:
    recipe = registry.load().recipes[name]
    steps, batch, optimizer, rate, decay, cosine_end = RD_STEPS[name]
    assert str(recipe.prune.finetune if recipe.prune else recipe.length) == steps
    assert (recipe.batch, recipe.optimizer.name, recipe.optimizer.lr) == (batch, optimizer, rate)
    assert (recipe.optimizer.weight_decay, recipe.optimizer.momentum) == (decay, 0.0)
    assert (recipe.optimizer.betas, recipe.optimizer.eps) == ((0.9, 0.999), 1e-8)
    kind = "constant" if cosine_end is None else "cosine"
    assert (recipe.schedule.kind, recipe.schedule.t_max) == (kind, cosine_end)
    small = "cifar10" in name  # pictures of ImageNet are neither cropped at random nor mirrored
    augmented = (recipe.augmentation.crop_padding, recipe.augmentation.flip)
    assert augmented == ((4, True) if small else (0, False))
    assert (recipe.label_smoothing, recipe.precision) == (0.0, "fp32")


# Section 3 of the IPruning description: (batch, weight decay, settings).
README = {"candidates": 8, "early_epoch": 100}
SEARCHES = {
    "ipruning-dense": (128, 1.25e-4, {}),
    "ipruning-readme": (128, 1e-5, README),
    "ipruning-released": (
        128,
        1e-5,
        {"variant": "released", "candidates": 32, "early_epoch": 5, "batches_per_epoch": 10},
    ),
    "edropout-readme": (128, 1e-5, README),
    "edropout-released": (32, 1e-5, {"variant": "released", **README}),
    "deep-compression": (128, 1.25e-4, {}),
}
AUGMENTED = {"gray": (0, False, None), "cifar": (4, True, None), "flowers": (4, True, (0, 180))}


@pytest.mark.parametrize("data", AUGMENTED)
@pytest.mark.parametrize("search", SEARCHES)
def test_filter_search_recipes_have_the_numbers_of_the_readme_and_the_code(
    search: str, data: str
) -> None:
    recipes = registry.load().recipes
    if search.startswith("edropout") and data != "gray":  # published on gray pictures only
        assert f"{search}-{data}-200ep" not in recipes
        return
    recipe = recipes[f"{search}-{data}-200ep"]
    batch, decay, settings = SEARCHES[search]
    optimizer = recipe.optimizer
    assert (recipe.batch, recipe.settings) == (batch, settings)
    assert (optimizer.name, optimizer.lr, optimizer.rho, optimizer.eps, optimizer.weight_decay) == (
        "adadelta",
        1.0,
        0.9,
        1e-6,
        decay,
    )
    assert (recipe.schedule.kind, recipe.schedule.every, recipe.schedule.gamma) == ("step", 50, 0.1)
    assert (str(recipe.length), recipe.validation_frac, recipe.drop_last) == ("200ep", 0.1, True)
    wanted = recipe.augmentation
    assert (wanted.crop_padding, wanted.flip, wanted.rotation_degrees) == AUGMENTED[data]


BAD_RECIPES = [
    ({"optimiser": {}}, ("optimiser",), "did you mean 'optimizer'"),
    ({"optimizer": {"name": "sgdd", "lr": 0.1}}, ("optimizer", "name"), "did you mean 'sgd'"),
    ({"optimizer": {"name": "sgd", "lr": -1}}, ("optimizer", "lr"), "-1.0 is below 0"),
    ({"optimizer": {"name": "sgd", "lr": True}}, ("optimizer", "lr"), "found True"),
    ({"optimizer": {"name": "sgd"}}, ("optimizer",), "'lr' is missing"),
    ({"optimizer": {"name": "sgd", "lr": float("nan")}}, ("optimizer", "lr"), "a number"),
    (
        {"optimizer": {"name": "sgd", "lr": 0.1, "nesterov": True}},
        ("optimizer", "nesterov"),
        "momentum",
    ),
    ({"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 1}}, ("optimizer", "momentum"), "[0, 1)"),
    (
        {"optimizer": {"name": "adam", "lr": 0.1, "betas": [0.9]}},
        ("optimizer", "betas"),
        "2 values",
    ),
    ({"length": "10 epochs"}, ("length",), "'10 epochs'"),
    ({"batch": 0}, ("batch",), "0 is below 1"),
    ({"batch": 12.5}, ("batch",), "a whole number"),
    ({"batch": True}, ("batch",), "found True"),
    ({"schedule": {"kind": "cosin"}}, ("schedule", "kind"), "did you mean 'cosine'"),
    ({"schedule": {"kind": "multistep"}}, ("schedule", "milestones"), "needs them"),
    (
        {"schedule": {"kind": "multistep", "milestones": [4, 2]}},
        ("schedule", "milestones"),
        "does not ascend",
    ),
    ({"schedule": {"kind": "step"}}, ("schedule", "every"), "needs it"),
    ({"schedule": {"kind": "step", "every": 0}}, ("schedule", "every"), "below 1"),
    ({"schedule": {"t_max": 5}}, ("schedule", "t_max"), "belongs to kind cosine"),
    ({"label_smoothing": 1.0}, ("label_smoothing",), "[0, 1)"),
    ({"augmentation": {"crop_padding": -4}}, ("augmentation", "crop_padding"), "-4 is below 0"),
    ({"init": "kaiming"}, ("init",), "unknown value 'kaiming'"),
    ({"precision": "bf16"}, ("precision",), "did you mean 'amp-bf16'"),
    ({"specified_by": "us"}, ("specified_by",), "unknown value 'us'"),
    ({"specified_by": "assumed"}, ("note",), "what is assumed"),
    (
        {"prune": {"count": 0, "amount": 0.2, "finetune": "1ep"}},
        ("prune", "count"),
        "at least 1",
    ),
    ({"prune": {"count": 1, "amount": 1.0, "finetune": "1ep"}}, ("prune", "amount"), "(0, 1)"),
    ({"prune": {"count": 1, "amount": 0.5, "finetune": "x"}}, ("prune", "finetune"), "'x'"),
    ({"settings": [1]}, ("settings",), "expected a mapping"),
]


@pytest.mark.parametrize(("change", "path", "text"), BAD_RECIPES)
def test_bad_recipe_names_the_place_and_the_value(
    change: dict[str, object], path: tuple[str, ...], text: str
) -> None:
    with pytest.raises(Fault) as caught:
        recipe_from("r", {**MINIMAL, **change})
    assert caught.value.path == path
    assert text in caught.value.problem


def test_recipe_survives_its_plain_form() -> None:
    for name, recipe in registry.load().recipes.items():
        mapping = plain(recipe)
        assert isinstance(mapping, dict)
        assert mapping.pop("name") == name
        assert recipe_from(name, json.loads(json.dumps(mapping))) == recipe


def test_hash_follows_numbers_and_not_notes() -> None:
    base = recipe_from("r", MINIMAL)
    assert recipe_sha256(base) == recipe_sha256(recipe_from("r", {**MINIMAL, "note": "n"}))
    assert recipe_sha256(base) != recipe_sha256(recipe_from("r", {**MINIMAL, "batch": 9}))


def test_overrides_are_applied_and_recorded() -> None:
    base = recipe_from("r", MINIMAL)
    given = {"epochs": 3, "optimizer.lr": 0.05, "settings.sparsity": 0.9, "batch": 16}
    changed, recorded = with_overrides(base, given)
    assert (str(changed.length), changed.optimizer.lr, changed.batch) == ("3ep", 0.05, 16)
    assert changed.settings == {"sparsity": 0.9}
    assert recorded == {
        "length": Override("3ep", "10ep", "command line"),
        "optimizer.lr": Override(0.05, 0.1, "command line"),
        "settings.sparsity": Override(0.9, None, "command line"),
        "batch": Override(16, 8, "command line"),
    }
    assert base == recipe_from("r", MINIMAL)


def test_overrides_can_fill_an_absent_part() -> None:
    given = {"prune.count": 2, "prune.amount": 0.5, "prune.finetune": "100it"}
    changed, _ = with_overrides(recipe_from("r", MINIMAL), given)
    assert changed.prune == PruneRounds(2, 0.5, Duration(100, "step"))


def test_list_override_is_read_as_a_list() -> None:
    given = {"schedule.kind": "multistep", "schedule.milestones": [3, 6]}
    changed, _ = with_overrides(recipe_from("r", MINIMAL), given)
    assert changed.schedule.milestones == (3, 6)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("optimizer.lrr", 1, "did you mean 'optimizer.lr'"),
        ("epoch", 1, "did you mean 'epochs'"),
        ("name", "x", "unknown recipe key 'name'"),
        ("optimizer.lr", "fast", "optimizer.lr: expected a number, found 'fast'"),
        ("optimizer.lr", -1, "optimizer.lr: -1.0 is below 0"),
        ("epochs", "many", "'manyep'"),
        ("prune.count", 2, "prune: key 'amount' is missing"),
    ],
)
def test_bad_override_is_one_clear_line(key: str, value: object, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        with_overrides(recipe_from("r", MINIMAL), {key: value})
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_inverse_schedule_is_caffes_inv() -> None:
    schedule = LrSchedule("inverse", unit="step", gamma=1e-4, power=0.75)
    rates = [learning_rate(schedule, 0.01, step, 7, 10_000) for step in (0, 1, 5_000, 9_999)]
    by_hand = [0.01, 0.01 / 1.0001**0.75, 0.01 / 1.5**0.75, 0.01 / 1.9999**0.75]
    assert rates == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize(
    "wrong", [{"kind": "inverse"}, {"kind": "constant", "power": 0.5}, {"kind": "inv", "power": 1}]
)
def test_power_belongs_to_the_inverse_schedule(wrong: dict[str, object]) -> None:
    with pytest.raises(Fault):
        recipe_from("wrong", {**MINIMAL, "schedule": wrong})


PARTS = {"optimizer": "paper", "length": "assumed", "initialisation": "code", "runs": "assumed"}
ASSUMED = {**MINIMAL, "specified_by": "assumed", "note": "the length"}


def test_parts_say_who_specified_what() -> None:
    recipe = recipe_from("ours", {**ASSUMED, "parts": PARTS})
    assert recipe.assumed_parts == ("length", "runs") and recipe.assumed == "length, runs"
    assert recipe_from("ours", ASSUMED).assumed == "the length"  # one sentence for all of it
    assert recipe_from("theirs", MINIMAL).assumed == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parts": {"optimiser": "paper"}}, "parts.optimiser: unknown part; did you mean 'optimi"),
        ({"parts": {"optimizer": "papers"}}, "parts.optimizer: unknown source"),
        ({"parts": {"optimizer": "paper"}}, "parts assumed: none"),
        ({"specified_by": "paper", "parts": PARTS}, "parts assumed: length, runs"),
    ],
)
def test_wrong_parts_are_faults(changes: dict[str, object], words: str) -> None:
    with pytest.raises(Fault) as caught:
        recipe_from("wrong", {**ASSUMED, **changes})
    assert words in str(caught.value)


def test_fields_that_came_later_and_what_is_only_told_leave_hashes_alone() -> None:
    plain_one = recipe_from(
        "one", {**MINIMAL, "prune": {"count": 1, "amount": 0.5, "finetune": "1ep"}}
    )
    assert "power" not in str(plain(plain_one, hashed=True)) and "power" in str(plain(plain_one))
    told = recipe_from("one", {**ASSUMED, "specified_by": "assumed", "parts": PARTS})
    assert recipe_sha256(told) == recipe_sha256(recipe_from("one", ASSUMED))
    base = {"name": "sgd", "lr": 0.1}
    changed = recipe_from("one", {**MINIMAL, "optimizer": {**base, "bias_lr_factor": 2.0}})
    assert recipe_sha256(changed) != recipe_sha256(recipe_from("one", MINIMAL))


def test_rounds_without_an_amount_leave_it_to_the_settings() -> None:
    prune = {"count": 3, "amount": None, "finetune": "1ep", "lr": 0.01}
    recipe = recipe_from("rounds", {**MINIMAL, "prune": prune})
    assert recipe.prune is not None and recipe.prune.targets == (None, None, None)
    changed, _ = with_overrides(recipe, {"prune.amount": 0.5, "prune.lr": None})
    assert changed.prune is not None
    assert (changed.prune.targets[0], changed.prune.lr) == (0.5, None)


# Section by section of the MNIST description: length, batch, optimizer, rate, momentum, decay.
MNIST = {
    "snip-mnist-75k": ("75000it", 100, "sgd", 0.1, 0.9, 5e-4, "variance_scaling"),
    "snip-mnist-released": ("10000it", 100, "sgd", 0.1, 0.0, 5e-4, "variance_scaling"),
    "han-mnist-caffe": ("10000it", 64, "sgd", 0.01, 0.9, 5e-4, "caffe_xavier"),
    "han-mnist-caffe-prune": ("10000it", 64, "sgd", 0.01, 0.9, 5e-4, "caffe_xavier"),
    "lottery-lenet300-9-rounds": ("50000it", 60, "adam", 1.2e-3, 0.0, 0.0, "glorot_normal"),
    "lottery-lenet300-15-rounds": ("50000it", 60, "adam", 1.2e-3, 0.0, 0.0, "glorot_normal"),
}


@pytest.mark.parametrize("name", MNIST)
def test_mnist_recipes_have_the_numbers_of_their_papers(name: str) -> None:
    recipe = registry.load().recipes[name]
    optimizer = recipe.optimizer
    assert MNIST[name] == (
        str(recipe.length),
        recipe.batch,
        optimizer.name,
        optimizer.lr,
        optimizer.momentum,
        optimizer.weight_decay,
        recipe.init,
    )
    held = {"snip": 6_000, "han-": 0, "lott": 5_000}[name[:4]]
    assert round(60_000 * recipe.validation_frac) == held


def test_snips_rate_falls_where_the_paper_says() -> None:
    recipe = registry.load().recipes["snip-mnist-75k"]
    steps = (0, 24_999, 25_000, 49_999, 50_000, 74_999)
    rates = [learning_rate(recipe.schedule, 0.1, step, 540, 75_000) for step in steps]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rel=1e-12)


def test_hans_rounds_retrain_at_a_tenth_of_the_rate() -> None:
    rounds = registry.load().recipes["han-mnist-caffe-prune"].prune
    assert rounds is not None and (rounds.count, rounds.amount) == (5, None)
    assert (str(rounds.finetune), rounds.lr) == ("10000it", 0.001)


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("abcxyz019 -_.:#'\"[]{}%", max_size=12),
    st.lists(st.integers(-9, 9) | st.sampled_from(["lamp", "true", "0.5", "~"]), max_size=4),
)


@given(VALUES)
def test_what_is_typed_for_a_value_is_read_as_that_value(value: object) -> None:
    text = assignment("settings.x", value)
    (read,) = assigned([text]).values()
    assert read == value and type(read) is type(value), text


@pytest.mark.parametrize("text", ["epochs", "=3", "batch=[1", "x: {", "lr=&a 1"])
def test_what_is_no_assignment_is_one_clear_line(text: str) -> None:
    with pytest.raises(SettingsError, match="--set") as caught:
        assigned([text])
    assert "\n" not in str(caught.value)
