"""Rounds of pruning and fine-tuning: exact counts, and going on inside a round."""

from dataclasses import replace

import pytest
import torch

from harness.data.batches import resident_batches
from harness.errors import Preempted, ProtocolError
from harness.evaluation.protocol import evaluate
from harness.profile.zeros import sparsity
from harness.registry.recipes import Duration, PruneRounds
from harness.training.loop import train
from harness.training.rounds import gains, prune
from methods.acdc import ACDC
from methods.han_magnitude import HanMagnitude, HanSettings
from methods.imp import IMP
from methods.magnitude import Magnitude
from methods.random import Random
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

WEIGHTS = 8 * 9 + 8 * 8 * 9 + 32 * 4  # conv, conv, linear of the small network


def rounds(count, amount, finetune="1ep", before="0ep"):
    return replace(
        RECIPE,
        length=Duration.parse(before),
        prune=PruneRounds(count, amount, Duration.parse(finetune)),
    )


def magnitude(kind=Magnitude, **settings):
    return kind(kind.Settings(**settings))


def test_one_shot_without_fine_tuning_only_prunes(tmp_path):
    before = network()
    trained = prune(job(tmp_path, magnitude(), recipe=rounds(1, 0.9, "0ep")))
    kept = WEIGHTS - round(0.9 * WEIGHTS)
    assert sparsity(trained.model).counts() == (kept, WEIGHTS)
    for name, value in before.state_dict().items():
        after = trained.model.state_dict()[name]
        assert torch.equal(after, torch.where(after != 0, value, after))
    assert (trained.steps, trained.epochs) == (0, 0.0)


def test_every_round_leaves_exactly_its_share(tmp_path):
    trained = prune(job(tmp_path, magnitude(), recipe=rounds(4, 0.4)))
    expected = [WEIGHTS - round((1 - 0.6**t) * WEIGHTS) for t in range(5)]
    assert [row["nnz"] for row in trained.history] == expected
    assert [row["round"] for row in trained.history] == [0, 1, 2, 3, 4]
    assert sparsity(trained.model).counts()[0] == expected[-1]
    assert (trained.steps, trained.epochs) == (4 * 5, 4.0)


@pytest.mark.parametrize("allocation", ["uniform", "uniform_plus", "erk", "global", "lamp"])
def test_no_round_revives_a_weight(tmp_path, allocation):
    seen = []

    class Remembering(Magnitude):
        def prune(self, *arguments):
            super().prune(*arguments)
            seen.append({name: mask.clone() for name, mask in self.masks.items()})

    method = magnitude(Remembering, allocation=allocation)
    trained = prune(job(tmp_path, method, recipe=rounds(3, 0.4)))
    final = {
        name: layer.weight != 0 for name, layer in trained.model.named_modules() if name in seen[0]
    }
    for earlier, later in zip(seen, [*seen[1:], final], strict=True):
        for name, mask in later.items():
            assert not (mask & ~earlier[name]).any()


def test_the_network_is_trained_densely_first_when_the_recipe_says_so(tmp_path):
    trained = prune(job(tmp_path, magnitude(), recipe=rounds(1, 0.5, "1ep", before="2ep")))
    dense = trained.history[0]
    assert (dense["steps"], dense["sparsity_pct"]) == (10.0, 0.0)
    assert trained.steps == 15


# A run of 10 dense steps and 3 rounds of 5: inside the dense part, at the first and the last step
# of a round, in the middle of the last one.
@pytest.mark.parametrize(("part", "step"), [(0, 6), (1, 0), (2, 4), (3, 2)])
@pytest.mark.parametrize("kind", [Magnitude, Random])
def test_a_stopped_run_continues_inside_its_round(tmp_path, kind, part, step):
    recipe = rounds(3, 0.4, "1ep", before="2ep")

    def prepared(folder, **changes):
        return job(tmp_path / folder, magnitude(kind), network(dropout=0.3), recipe, **changes)

    whole = prune(prepared("whole"))
    stopped = prepared("stopped")
    with pytest.raises(Preempted):
        prune(replace(stopped, batches=StoppingBatches(stopped.batches, part, step)))
    resumed = prune(prepared("stopped"))
    assert_same_bits(weights_of(resumed.model), weights_of(whole.model))
    assert timeless(resumed.history) == timeless(whole.history)


class StoppingBatches:
    """Batches that send SIGTERM before `step` of the `part`-th training (0 = the dense one)."""

    def __init__(self, batches, part, step):
        self.batches, self.part, self.step = batches, part, step
        self.share = batches.share
        self.begun = -1

    def __len__(self):
        return len(self.batches)

    def epoch(self, epoch, start=0):
        import os
        import signal

        self.begun += epoch == 0
        for number, batch in enumerate(self.batches.epoch(epoch, start), epoch * 5 + start):
            if (self.begun, number) == (self.part, self.step):
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def test_a_killed_event_is_repeated_and_finished_rounds_are_not(tmp_path):
    calls = []

    class Failing(Magnitude):
        def prune(self, model, target, images=None):
            calls.append(round(target, 3))
            if len(calls) == 2:
                raise KeyboardInterrupt
            super().prune(model, target, images)

    def prepared(folder, kind):
        return job(tmp_path / folder, magnitude(kind), network(dropout=0.3), rounds(3, 0.5))

    whole = prune(prepared("whole", Magnitude))
    with pytest.raises(KeyboardInterrupt):
        prune(prepared("killed", Failing))
    resumed = prune(prepared("killed", Failing))
    assert calls == [0.5, 0.75, 0.75, 0.875]
    assert_same_bits(weights_of(resumed.model), weights_of(whole.model))


def test_the_method_receives_the_calibration_images_in_every_round(tmp_path):
    seen = []

    class Looking(Magnitude):
        def prune(self, model, target, images=None):
            seen.append(images)
            super().prune(model, target)

    wanted = torch.ones(2, 1, 6, 6)
    prune(job(tmp_path, magnitude(Looking), recipe=rounds(2, 0.5, "0ep")), lambda: wanted)
    assert seen == [wanted, wanted]


def test_a_target_below_what_is_pruned_already_is_refused(tmp_path):
    start = network()
    method = magnitude()
    method.prune(start, 0.8)
    recipe = rounds(1, 0.5)
    with pytest.raises(ProtocolError, match="round 1, target 50.00 %: cannot keep 388 of 776"):
        prune(job(tmp_path, method, start, recipe))


def test_rounds_that_their_allocation_cannot_reach_say_which_one(tmp_path):
    method = magnitude(allocation="uniform_plus")  # which never prunes the first layer
    with pytest.raises(ProtocolError, match="round 3, target 87.50 %: amount 0.5 is infeasible"):
        prune(job(tmp_path, method, recipe=rounds(3, 0.5, "0ep")))


def test_a_method_without_a_one_shot_form_is_sent_to_train(tmp_path):
    with pytest.raises(ProtocolError, match="'acdc' prunes while training.*bench train"):
        prune(job(tmp_path, magnitude(ACDC, sparsity=0.5), recipe=rounds(1, 0.5)))


def test_a_recipe_without_rounds_is_refused(tmp_path):
    with pytest.raises(ProtocolError, match="no pruning rounds.*prune.count=1"):
        prune(job(tmp_path, magnitude()))


def test_a_signal_between_rounds_is_not_lost(tmp_path):
    recipe = rounds(2, 0.5, "2ep")
    with pytest.raises(Preempted, match="saved at step 10 of 10"):
        prune(job(tmp_path, magnitude(interrupted(Magnitude, 9)), recipe=recipe))


def timeless(history):
    return [{k: v for k, v in row.items() if k not in ("wall_s", "cpu_s")} for row in history]


def test_rounds_tell_what_they_won_over_their_own_dense_network(tmp_path):
    held = resident_batches(images(8, seed=2), EVALUATION, "cpu", batch_size=8)
    plain = prune(job(tmp_path / "plain", magnitude(), recipe=rounds(2, 0.4, before="2ep")))
    first, last = plain.history[0], plain.history[-1]
    assert gains(plain.history) == {"gain_over_dense_pp": last["top1_pct"] - first["top1_pct"]}
    looked = job(tmp_path / "held", magnitude(), recipe=rounds(2, 0.4, "4ep", "4ep"))
    early = prune(replace(looked, watched={"val": lambda net: evaluate(net, held)})).history
    assert all(0 <= row["early_epoch"] < 4 for row in early)
    assert gains(early)["early_gain_over_dense_pp"] == (
        early[-1]["early_top1_pct"] - early[0]["early_top1_pct"]
    )
    assert gains(({"epoch": 0.0, "top1_pct": 50.0},)) == {}


def test_the_early_epoch_is_the_one_of_the_lowest_validation_loss(tmp_path):
    losses = iter([3.0, 1.0, 2.0, 9.0])

    def validate(net):
        measured = evaluate(net, resident_batches(images(8), EVALUATION, "cpu", batch_size=8))
        told = {"loss_sum": 8 * next(losses)}
        return replace(measured, counts=replace(measured.counts, **told))

    recipe = rounds(1, 0.4, "0ep", "4ep")
    (dense, _) = prune(
        replace(job(tmp_path, magnitude(), recipe=recipe), watched={"val": validate})
    ).history
    assert dense["early_epoch"] == 1.0


def test_fine_tuning_may_have_a_rate_of_its_own_and_settings_their_own_rounds(tmp_path):
    recipe = rounds(2, None, "1ep", "1ep")
    slow = replace(recipe, prune=replace(recipe.prune, lr=0.0))
    method = HanMagnitude(HanSettings(densities={"0": 0.25, "4": 0.5}))
    model = network()
    trained = prune(job(tmp_path, method, model, slow))
    assert [row["nnz"] for row in trained.history] == [
        WEIGHTS,
        36 + round(0.5**0.5 * 576) + 128,
        18 + 288 + 128,
    ]
    dense = train(
        replace(job(tmp_path / "dense", model=network()), recipe=replace(recipe, prune=None))
    )
    kept = trained.model[4].weight != 0
    assert torch.equal(trained.model[4].weight[kept], dense.model[4].weight[kept])


def test_rounds_without_amount_and_settings_are_refused_in_words(tmp_path):
    with pytest.raises(ProtocolError, match=r"round 1, as set: .*prune.amount=0.2"):
        prune(job(tmp_path, magnitude(), recipe=rounds(1, None)))


def test_tickets_begin_every_round_where_the_first_training_began(tmp_path):
    first = network().state_dict()
    recipe = replace(rounds(2, 0.5, "1ep", "2ep"), optimizer=replace(RECIPE.optimizer, lr=0.0))
    trained = prune(job(tmp_path, magnitude(IMP), recipe=recipe))
    for name in ("0.weight", "4.weight", "7.weight"):
        weight = trained.model.state_dict()[name]
        assert int(weight.count_nonzero()) == weight.numel() // 4
        assert torch.equal(weight[weight != 0], first[name][weight != 0])
