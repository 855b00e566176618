"""The training loop: order, schedules, records, refusals, and going on after a stop."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from harness.data.batches import resident_batches
from harness.errors import BenchError, MetricError, Preempted, ProtocolError, SettingsError
from harness.evaluation.protocol import Evaluated, evaluate
from harness.registry.recipes import Duration, LrSchedule, Optimizer, learning_rate
from harness.results.schema import Counts
from harness.training.loop import train
from methods.acdc import ACDC
from methods.base import Method
from methods.dense import Dense
from methods.gmp import GMP
from methods.random import Random
from methods.snip import Snip, SnipSettings
from methods.str import STR
from tests.methods.acdc_schedules import phase_epochs
from tests.support.runs import (
    EVALUATION,
    RECIPE,
    assert_same_bits,
    images,
    interrupted,
    job,
    network,
    weights_of,
)

FIXTURES = Path(__file__).parents[1] / "fixtures"
ATOL_ACDC = 1e-5  # stated for the stored runs: float32, order of summation
ATOL_SMOOTHING = 1e-6  # stated for the stored losses and gradients
PER_EPOCH = 5  # steps of a `job`


class Watched(Dense):
    """Writes down what the loop calls, and the rate at every step."""

    def __init__(self):
        super().__init__(Dense.Settings())
        self.calls, self.rates = [], []

    def bind(self, optimizer):
        self.optimizer = optimizer

    def begin_epoch(self, epoch):
        self.calls.append(f"epoch {epoch}")

    def begin_step(self, step, images=None, targets=None):
        self.calls.append(f"step {step}")

    def after_step(self):
        self.rates.append(self.optimizer.param_groups[0]["lr"])

    def end_epoch(self, epoch):
        self.calls.append(f"end {epoch}")


def test_the_method_is_called_around_every_step_and_epoch(tmp_path):
    method = Watched()
    trained = train(job(tmp_path, method, recipe=replace(RECIPE, length=Duration(7, "step"))))
    first = ["epoch 0", *(f"step {i}" for i in range(5)), "end 0"]
    assert method.calls == [*first, "epoch 1", "step 5", "step 6", "end 1"]
    assert (trained.steps, trained.epochs) == (7, 1.4)


@pytest.mark.parametrize(
    "schedule",
    [
        LrSchedule("cosine", warmup=2),
        LrSchedule("cosine", "step", warmup=3),
        LrSchedule("multistep", "step", milestones=(7, 12)),
        LrSchedule("step", every=2, gamma=0.5),
        LrSchedule("constant"),
    ],
    ids=lambda schedule: f"{schedule.kind}-{schedule.unit}",
)
def test_each_step_runs_at_the_rate_of_the_schedule(tmp_path, schedule):
    method = Watched()
    recipe = replace(RECIPE, schedule=schedule)
    trained = train(job(tmp_path, method, recipe=recipe))
    expected = [learning_rate(schedule, 0.05, step, PER_EPOCH, 30) for step in range(30)]
    assert method.rates == expected
    assert [row["lr"] for row in trained.history] == expected[4::5]


@pytest.mark.parametrize(
    ("every", "epochs"), [(1, [0, 1, 2, 3, 4, 5]), (4, [3, 5]), (6, [5]), (9, [5])]
)
def test_evaluates_every_so_many_epochs_and_always_the_last(tmp_path, every, epochs):
    trained = train(job(tmp_path, evaluate_every=every))
    assert [row["epoch"] for row in trained.history] == epochs


def test_the_last_epoch_is_the_number_and_the_best_one_is_kept_apart(tmp_path):
    hits = iter([3, 9, 9, 5, 4, 6])

    def scripted(model):
        top1 = next(hits)
        return Evaluated(Counts(n=10, top1=top1, top3=10, top5=10, loss_sum=1.0), np.zeros(10), 0.0)

    trained = train(job(tmp_path, evaluate=scripted))
    assert trained.last.counts.top1 == 6
    assert (trained.best_top1_pct, trained.best_epoch) == (90.0, 1)


def test_two_runs_with_one_seed_agree_and_another_seed_differs(tmp_path):
    def run(folder, seed):
        return weights_of(train(job(tmp_path / folder, model=network(seed), seed=seed)).model)

    once = run("a", 0)
    assert_same_bits(once, run("b", 0))
    assert not np.array_equal(once["0.weight"], run("c", 1)["0.weight"])


METHODS = {
    "acdc": (ACDC, {"sparsity": 0.8}),
    "gmp": (GMP, {"sparsity": 0.8}),
    "str": (STR, {"s_init": -4.0}),
    "random": (Random, {"sparsity": 0.5}),
}


# 4 and 29 are the last steps of an epoch and of the run, 5 the first of an epoch.
@pytest.mark.parametrize("step", [0, 4, 5, 13, 29])
@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_run_continues_to_the_same_bits(tmp_path, name, step):
    kind, settings = METHODS[name]

    def prepared(folder, method):
        model = network(dropout=0.3)  # dropout: the global generator has to come back too
        return job(tmp_path / folder, method(method.Settings(**settings)), model)

    whole = train(prepared("whole", kind))
    with pytest.raises(Preempted, match=f"SIGTERM: saved at step {step + 1} of 30. The same comm"):
        train(prepared("stopped", interrupted(kind, step)))
    resumed = train(prepared("stopped", kind))
    assert_same_bits(weights_of(resumed.model), weights_of(whole.model))
    assert resumed.history == whole.history
    assert resumed.steps == whole.steps


def test_saves_by_the_clock_however_few_steps_an_epoch_has(tmp_path):
    saved = []
    task = job(tmp_path, save_every_s=0.0, recipe=replace(RECIPE, length=Duration(2, "epoch")))
    task.folder.save_state = lambda state: saved.append(state["step"])
    train(task)
    assert saved == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_state(tmp_path):
    blow_up = LrSchedule("multistep", milestones=(2,), gamma=1e30)
    recipe = replace(RECIPE, schedule=blow_up)
    for _ in range(2):  # the same command meets the same end
        with pytest.raises(ProtocolError, match=r"the loss is nan .*another configuration.*lr=0.0"):
            train(job(tmp_path, recipe=recipe))
        state = job(tmp_path).folder.load_state()
        assert state["step"] == 2 * PER_EPOCH
        assert all(value.isfinite().all() for value in state["model"].values())


def test_weights_broken_by_the_last_step_of_an_epoch_are_never_saved(tmp_path):
    blow_up = LrSchedule("multistep", "step", milestones=(9,), gamma=float("inf"))
    recipe = replace(RECIPE, schedule=blow_up)
    with pytest.raises(ProtocolError, match="a weight is not finite by step 10"):
        train(job(tmp_path, recipe=recipe))
    assert job(tmp_path).folder.load_state()["step"] == PER_EPOCH


def test_an_evaluation_that_finds_no_finite_logits_ends_the_run_like_a_broken_loss(tmp_path):
    def fails(model):
        raise MetricError("the network produces non-finite logits")

    with pytest.raises(ProtocolError, match="non-finite logits by step 5 of 30.*last good state"):
        train(job(tmp_path, evaluate=fails))


def test_a_method_may_cut_an_epoch_short_without_moving_the_schedule(tmp_path):
    class Short(Watched):
        @property
        def batch_limit(self):
            return 2 if "step 10" not in self.calls else None

    method = Short()
    trained = train(job(tmp_path, method, recipe=replace(RECIPE, length=Duration(3, "epoch"))))
    steps = [int(call.split()[1]) for call in method.calls if call.startswith("step")]
    assert steps == [0, 1, 5, 6, 10, 11, 12, 13, 14]
    assert (trained.steps, trained.epochs) == (9, 3.0)


def test_half_precision_trains_on_a_cpu_too(tmp_path):
    recipe = replace(RECIPE, precision="amp-fp16", length=Duration(2, "epoch"))
    trained = train(job(tmp_path, recipe=recipe))
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]
    assert all(value.dtype != torch.float16 for value in trained.model.state_dict().values())


def test_the_defaults_of_a_method_do_nothing(tmp_path):
    class Idle(Method):
        name = "idle"

    plain = weights_of(train(job(tmp_path / "a")).model)
    assert_same_bits(plain, weights_of(train(job(tmp_path / "b", Idle(None))).model))


class StoredBatches:
    """The minibatches of a fixture as the loop wants them: images, labels, sizes."""

    def __init__(self, images, labels, per_epoch):
        self.images, self.labels, self.per_epoch = images, labels, per_epoch
        self.share = SimpleNamespace(global_size=lambda step: labels.shape[1])

    def __len__(self):
        return self.per_epoch

    def epoch(self, epoch, start=0):
        for step in range(epoch * self.per_epoch + start, (epoch + 1) * self.per_epoch):
            yield self.images[step], self.labels[step]


def stored_acdc_job(folder, run, seen):
    """The job that a stored AC/DC training describes; what each epoch ends with goes to `seen`."""
    arrays = np.load(FIXTURES / "acdc" / f"train_{run}.npz")
    plan = json.loads((FIXTURES / "acdc" / f"train_{run}.json").read_text())
    (pruner,) = plan["config"]["pruners"].values()
    (recycler,) = plan["config"]["recyclers"].values()
    trainer = plan["config"]["trainers"]["default_trainer"]
    given = trainer["optimizer"]
    warmup = trainer["lr_scheduler"].get("warmup_length")
    schedule = (
        LrSchedule("cosine", warmup=warmup)
        if trainer["lr_scheduler"]["class"] == "CosineLR"
        else LrSchedule("multistep", milestones=(1,), gamma=1.0)
    )
    net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
    names = {"0.weight": "W1", "0.bias": "b1", "2.weight": "W2", "2.bias": "b2"}
    net.load_state_dict({k: torch.from_numpy(arrays[f"in/{n}"]) for k, n in names.items()})
    shapes = {"UnstructuredMagnitudePruner": "global", "MagnitudePruner": "uniform"}
    method = ACDC(
        ACDC.Settings(
            sparsity=pruner.get("target_sparsity"),
            allocation=shapes.get(pruner["class"], f"{pruner.get('N')}:{pruner.get('M')}"),
            compress=phase_epochs([pruner["epochs"]]),
            decompress=phase_epochs([recycler["epochs"]]),
            variant="released",
        )
    )
    counts = Counts(n=1, top1=1, top3=1, top5=1, loss_sum=0.0)

    def look(model):
        seen.append((weights_of(model), [mask.clone() for mask in method.masks.values()]))
        return Evaluated(counts, np.zeros(1), 0.0)

    batches = StoredBatches(
        torch.from_numpy(arrays["in/X"]), torch.from_numpy(arrays["in/Y"]), plan["iters_per_epoch"]
    )
    optimizer = Optimizer(
        "sgd", given["lr"], given["momentum"], given.get("nesterov", False), given["weight_decay"]
    )
    recipe = replace(
        RECIPE, length=Duration(plan["epochs"], "epoch"), optimizer=optimizer, schedule=schedule
    )
    return arrays, job(folder, method, net, recipe, batches=batches, evaluate=look)


@pytest.mark.parametrize("run", ["global_cosine", "nm24_cosine"])
def test_the_loop_repeats_the_stored_acdc_training(tmp_path, run):
    seen = []
    arrays, task = stored_acdc_job(tmp_path, run, seen)
    trained = train(task)
    per_epoch = len(task.batches)
    for epoch, (weights, masks) in enumerate(seen):
        last = (epoch + 1) * per_epoch - 1
        for key, name in (("0.weight", "W1"), ("0.bias", "b1"), ("2.weight", "W2")):
            stored = arrays[f"out/{name}"][last]
            np.testing.assert_allclose(weights[key], stored, rtol=0, atol=ATOL_ACDC)
        for mask, name in zip(masks, ("m1", "m2"), strict=True):
            np.testing.assert_array_equal(mask, arrays[f"out/{name}"][last].astype(bool))
    rates = [row["lr"] for row in trained.history]
    np.testing.assert_allclose(rates, arrays["out/lr"][per_epoch - 1 :: per_epoch], rtol=1e-9)
    losses = arrays["out/loss"].reshape(-1, per_epoch).mean(1)
    found = [row["train_loss"] for row in trained.history]
    np.testing.assert_allclose(found, losses, rtol=0, atol=ATOL_ACDC)


def test_label_smoothing_gives_the_stored_loss_and_gradient(tmp_path):
    arrays = np.load(FIXTURES / "str" / "label_smoothing.npz")
    logits, target = torch.from_numpy(arrays["logits"]), torch.from_numpy(arrays["target"])

    class Stored(nn.Module):
        def __init__(self):
            super().__init__()
            self.logits = nn.Parameter(logits.clone())

        def forward(self, images):
            return self.logits

    recipe = replace(
        RECIPE,
        length=Duration(1, "step"),
        optimizer=Optimizer("sgd", lr=1.0),
        schedule=LrSchedule(),
        label_smoothing=float(arrays["smoothing"]),
    )
    counts = Counts(n=1, top1=1, top3=1, top5=1, loss_sum=0.0)
    trained = train(
        job(
            tmp_path,
            model=Stored(),
            recipe=recipe,
            batches=StoredBatches(torch.zeros(1, len(target)), target[None], 1),
            evaluate=lambda model: Evaluated(counts, np.zeros(1), 0.0),
        )
    )
    loss = trained.history[0]["train_loss"]
    assert loss == pytest.approx(float(arrays["loss"]), abs=ATOL_SMOOTHING)
    gradient = logits - trained.model.logits.detach()
    np.testing.assert_allclose(gradient, arrays["grad"], rtol=0, atol=ATOL_SMOOTHING)


class Looking(Dense):
    """Remembers what it was shown before the first step."""

    def __init__(self):
        super().__init__(Dense.Settings())
        self.first = []
        self.steps = 0

    def begin_training(self, batches):
        assert self.steps == 0
        self.first.append([labels for _, labels in batches])

    def begin_step(self, step, images=None, targets=None):
        self.steps += 1


def test_a_method_sees_the_first_epoch_before_the_first_step_and_only_once(tmp_path):
    looking = Looking()
    train(job(tmp_path, looking))
    (shown,) = looking.first
    assert len(shown) == 5 and torch.equal(torch.cat(shown).bincount(), torch.tensor([10] * 4))
    assert looking.steps == 30


def test_a_look_before_training_moves_no_bit_of_it(tmp_path):
    with_look = train(job(tmp_path / "look", Looking(), model=network(dropout=0.3)))
    without = train(job(tmp_path / "plain", model=network(dropout=0.3)))
    assert_same_bits(weights_of(with_look.model), weights_of(without.model))


def test_snip_prunes_before_the_first_step_and_resumes_inside_the_first_epoch(tmp_path):
    settings = SnipSettings(sparsity=0.8, images=12)
    whole = train(job(tmp_path / "whole", Snip(settings)))
    zeros = sum(int((p == 0).sum()) for n, p in whole.model.named_parameters() if p.dim() > 1)
    assert zeros >= 616  # of 776 weights and 4 biases, 156 parameters stay
    stopped = interrupted(Snip, 3)
    with pytest.raises(Preempted):
        train(job(tmp_path / "stopped", stopped(settings)))
    resumed = train(job(tmp_path / "stopped", Snip(settings)))
    assert_same_bits(weights_of(resumed.model), weights_of(whole.model))


def test_the_part_held_back_is_measured_beside_the_test_set(tmp_path):
    held = resident_batches(images(8, seed=2), EVALUATION, "cpu", batch_size=8)
    trained = train(job(tmp_path, watched={"val": lambda net: evaluate(net, held)}))
    assert len(trained.history) == 6
    last = evaluate(trained.model, held).counts
    assert trained.history[-1]["val_loss"] == last.loss
    assert trained.history[-1]["val_top1_pct"] == last.top1_pct
    assert trained.cpu_s > 0
    assert "val_loss" not in train(job(tmp_path / "none")).history[-1]


class Refusing(Dense):
    """Raises ValueError where it is told to."""

    def __init__(self, where):
        super().__init__(Dense.Settings())
        self.where = where

    def attach(self, model, schedule):
        self._refuse("attach")

    def begin_training(self, batches):
        self._refuse("begin_training")

    def after_step(self):
        self._refuse("after_step")

    def _refuse(self, here):
        if here == self.where:
            raise ValueError("keeps more weights than there are")


@pytest.mark.parametrize("where", ["attach", "begin_training"])
def test_what_a_method_refuses_before_the_first_step_is_an_error_of_settings(tmp_path, where):
    with pytest.raises(SettingsError, match=f"recipe {RECIPE.name}: keeps more weights"):
        train(job(tmp_path, method=Refusing(where)))


def test_a_value_error_in_the_middle_of_a_training_is_no_error_of_settings(tmp_path):
    with pytest.raises(ValueError, match="keeps more weights") as caught:
        train(job(tmp_path, method=Refusing("after_step")))
    assert not isinstance(caught.value, BenchError)
