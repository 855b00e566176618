"""Many networks through one pass: the same as one by one, and nobody suffers from another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.data import evaluation_batches
from harness.data.batches import EvaluationBatches
from harness.errors import MetricError, StateWarning
from harness.evaluation.protocol import Evaluated, evaluate, evaluate_together
from harness.evaluation.shared_pass import Loaded, evaluate_loaded
from harness.models import build
from harness.registry.entries import Entry
from harness.registry.own_runs import local_entry
from harness.results.schema import CheckpointFacts, Result
from harness.results.store import load_all
from harness.system import provenance
from harness.system.progress import Silent

pytestmark = pytest.mark.usefixtures("home")

FACTS = CheckpointFacts(
    sha256="0" * 64, source="file:f", format="plain", size_bytes=1, license="local"
)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build("convnet_tiny", num_classes=10, in_channels=1)


def digits(batch_size: int = 100) -> EvaluationBatches:
    return evaluation_batches(registry.load().evaluations["digits"], None, "cpu", batch_size)


class WritesIntoItsInput(nn.Module):
    """An in-place first layer, as some published networks have."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.body = network(seed)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.body(images.mul_(-1.5))
        return logits


class Fails(nn.Module):
    """Fails at its `at`-th batch."""

    def __init__(self, error: Exception, at: int = 0) -> None:
        super().__init__()
        self.error, self.left = error, at
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.weight + torch.zeros(len(images), 10)


class NotANumber(nn.Linear):
    def __init__(self) -> None:
        super().__init__(64, 10)
        nn.init.constant_(self.weight, float("nan"))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1))


def same(one: Evaluated | Exception, other: Evaluated) -> bool:
    assert isinstance(one, Evaluated), one
    return one.counts == other.counts and bool((one.predictions == other.predictions).all())


def test_counts_and_predictions_are_those_of_separate_passes() -> None:
    models = [network(0), WritesIntoItsInput(1), network(2)]
    together = evaluate_together(models, digits())
    for model, found in zip(models, together, strict=True):
        assert same(found, evaluate(model, digits()))
    # Counts of untrained networks differ, or equality would prove nothing.
    assert len({found.counts.loss_sum for found in together if isinstance(found, Evaluated)}) == 3


def test_a_list_of_batches_is_left_as_it_was() -> None:
    given = list(digits())
    kept = [images.clone() for images, _ in given]
    evaluate_together([WritesIntoItsInput(1), network(0)], given)
    assert all(torch.equal(images, k) for (images, _), k in zip(given, kept, strict=True))


@pytest.mark.parametrize("at", [0, 2])
def test_a_network_that_fails_leaves_the_others_alone(at: int) -> None:
    models = [network(0), Fails(ValueError("no"), at), NotANumber(), network(1)]
    first, failed, undefined, last = evaluate_together(models, digits())
    assert isinstance(failed, ValueError)
    assert isinstance(undefined, MetricError) and "non-finite" in str(undefined)
    assert same(first, evaluate(models[0], digits()))
    assert same(last, evaluate(models[3], digits()))


def test_a_pass_ends_when_nobody_is_left() -> None:
    seen = 0

    def count(images: int) -> None:
        nonlocal seen
        seen += images

    evaluate_together([Fails(ValueError("a")), Fails(ValueError("b"))], digits(10), count)
    assert seen == 10
    with pytest.raises(ValueError, match="a"):
        evaluate(Fails(ValueError("a")), digits())


def entries(count: int) -> list[Entry]:
    known = registry.load()
    return [
        local_entry(
            known, method="dense", model="convnet_tiny", dataset="digits", name=f"own-{number}"
        )
        for number in range(count)
    ]


def evaluated(models: list[nn.Module]) -> list[Result | Exception]:
    known = registry.load()
    own = entries(len(models))
    loaded = [Loaded(entry, m.eval(), FACTS) for entry, m in zip(own, models, strict=True)]
    evaluation = known.evaluations["digits"]
    return [
        *evaluate_loaded(
            loaded, evaluation, digits(250), known, device="cpu", fast=False, progress=Silent()
        )
    ]


def test_every_network_has_its_own_result_on_record() -> None:
    found = evaluated([network(0), network(1)])
    assert {result.result_id for result in load_all()} == {
        result.result_id for result in found if isinstance(result, Result)
    }
    alone = [evaluated([network(0)])[0], evaluated([network(1)])[0]]
    for together, separate in zip(found, alone, strict=True):
        assert isinstance(together, Result) and isinstance(separate, Result)
        assert together.counts == separate.counts
        assert together.predictions_sha256 == separate.predictions_sha256
        assert together.wall_s > 0


def test_a_failure_names_the_entry_and_what_to_do() -> None:
    good, failed = evaluated([network(0), Fails(RuntimeError("size mismatch\nmore"))])
    assert isinstance(good, Result)
    assert isinstance(failed, MetricError)
    assert str(failed).startswith("own-1: the network cannot be evaluated: RuntimeError: size")
    assert "more" not in str(failed) and "bench show own-1" in str(failed)


class Hungry(nn.Module):
    """Runs out of memory while more than `alone` networks like it are in the room."""

    crowd = 0

    def __init__(self, seed: int, alone: int) -> None:
        super().__init__()
        self.body, self.alone = network(seed), alone

    def forward(self, images: Tensor) -> Tensor:
        if Hungry.crowd > self.alone:
            Hungry.crowd -= 1  # the one who is told gives up
            raise torch.OutOfMemoryError("CUDA out of memory")
        logits: Tensor = self.body(images)
        return logits


def test_networks_that_do_not_fit_together_are_tried_in_halves() -> None:
    Hungry.crowd = 4
    models = [Hungry(seed, alone=2) for seed in range(4)]
    found = evaluated([*models])
    for seed, result in enumerate(found):
        assert isinstance(result, Result), result
        assert result.counts == evaluate(network(seed), digits(250)).counts


def test_a_network_that_never_fits_says_what_to_do() -> None:
    (failed,) = evaluated([Fails(torch.OutOfMemoryError("CUDA out of memory. Tried"))])
    assert isinstance(failed, MetricError)
    assert "OutOfMemoryError" in str(failed) and "--device cpu" in str(failed)


KILLED = """
import json, os, signal, sys
import torch
from harness.evaluation import protocol
from harness.system import provenance
from tests.evaluation.test_shared_pass import evaluated, network
protocol.KEEP_S = 0.0
provenance.code_version = lambda: json.loads(sys.argv[1])  # somebody may commit meanwhile

class Dies(torch.nn.Module):
    def __init__(self, seed, at):
        super().__init__()
        self.body, self.left = network(seed), at
    def forward(self, images):
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.body(images)

evaluated([network(0), Dies(1, 1)])
"""


class Counted(nn.Module):
    """Counts the batches it sees; its MACs are counted with a single image."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.body, self.seen = network(seed), 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images) > 1
        logits: Tensor = self.body(images)
        return logits


@pytest.mark.slow
def test_a_killed_pass_goes_on_where_it_was(home: Path) -> None:
    command = [sys.executable, "-c", KILLED, json.dumps(provenance.code_version())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert list(load_all()) == []
    kept = sorted(home.glob("runs/evaluations/*.npz"))
    assert len(kept) == 2
    kept[0].write_bytes(kept[0].read_bytes()[:50])  # a damaged one is counted anew
    models = [Counted(0), Counted(1)]
    with pytest.warns(StateWarning, match=f"{kept[0].name} cannot be used"):
        first, second = evaluated([*models])
    assert (models[0].seen, models[1].seen) == (2, 1)  # of two batches
    for seed, found in enumerate((first, second)):
        assert isinstance(found, Result)
        assert found.counts == evaluate(network(seed), digits(250)).counts
        (file,) = home.glob(f"reports/results/own-{seed}/*.npz")
        with np.load(file) as stored:
            assert (stored["predictions"] == evaluate(network(seed), digits(250)).predictions).all()
    assert not list(home.glob("runs/evaluations/*"))
