"""A training step and an evaluated batch never wait for the GPU: every method, without one.

Twice: on CPU tensors, backward and optimizer included, and on fake CUDA tensors, which also refuse
to mix devices. What may wait, and when, stands in MASKS_CHANGE and in the tests that name it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

import methods
from harness.data import Augment, TrainBatches
from harness.data.batches import resident_batches
from harness.evaluation import protocol
from harness.models import build
from harness.registry import Optimizer, make_method
from harness.training import loop
from harness.training.loop import TrainingTask
from harness.training.optimizers import Groups
from harness.training.run_folder import RunFolder
from methods import masked
from methods.ipruning import ipruning_and_edropout
from methods.masked import MaskedMethod
from methods.masks import multipliers, n_of_m
from tests.support.device_waits import FakeGenerator, watched
from tests.support.runs import EVALUATION, RECIPE, images

# Settings under which no mask changes inside the steps that are watched: masks change rarely, and
# then values are read (see MaskedMethod).
MASKS_CHANGE: dict[str, dict[str, object]] = {
    "gmp": {"sparsity": 0.5, "begin": 0, "end": 0},
    "acdc": {"sparsity": 0.5, "compress": (0,)},
}
SETTINGS: dict[str, dict[str, object]] = {
    **MASKS_CHANGE,
    "random": {"sparsity": 0.5},
    "magnitude": {"sparsity": 0.5},
    "snip": {"sparsity": 0.5, "images": 16},
    "dnw": {"sparsity": 0.5},
    "deep-compression": {"sparsity": 0.5, "share_bits": 4},
}
STEPS = 2
OF_ROUNDS = ("imp", "han-magnitude")  # they prune between trainings
VARIANTS = [
    *((name, {}) for name in methods.BUILT_IN if name not in OF_ROUNDS),
    ("gmp", {"variant": "released"}),
    ("acdc", {"variant": "released"}),
    ("acdc", {"allocation": "2:4", "sparsity": None}),
    ("str", {"granularity": "filter"}),
    ("edropout", {"live_costs": False}),
    ("deep-compression", {"rule": "zeros", "sparsity": None}),
]


@pytest.fixture(autouse=True)
def _the_way_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates whose sizes depend on values run on the host only."""

    monkeypatch.setattr(ipruning_and_edropout, "_cut", lambda model, layout: None)


def network_on(device: str) -> nn.Module:
    with torch.device(device):
        return build("convnet_tiny", num_classes=4, in_channels=1)


def begun(name: str, changes: dict[str, object], folder: Path, device: str) -> loop._Loop:
    """A run of five steps with the method, before its first step."""
    settings = {k: v for k, v in {**SETTINGS.get(name, {}), **changes}.items() if v is not None}
    model = network_on(device)
    batches = TrainBatches(
        images(),
        batch_size=RECIPE.batch,
        mean=EVALUATION.mean,
        std=EVALUATION.std,
        channels="gray",
        seed=0,
        augment=Augment(crop_padding=1, flip=True, cutout=2, rotation_degrees=(-5.0, 5.0)),
        device=device,
    )
    task = TrainingTask(
        model=model,
        method=make_method(name, settings),
        recipe=RECIPE,
        batches=batches,
        evaluate=lambda net: pytest.fail("no epoch ends here"),
        folder=RunFolder(folder, "key"),
        seed=0,
        device=device,
    )
    return loop._Loop(task)


def waits_of_steps(run: loop._Loop) -> list[str]:
    """What waited in all steps but the first, the making of batches included."""
    run.method.begin_training(run.job.batches.epoch(0))
    run.method.begin_epoch(0)
    run.job.model.train()
    steps = run.job.batches.epoch(0)
    run._train_step(*next(steps))
    with watched() as found:
        for batch in islice(steps, STEPS):
            run.step += 1
            run._train_step(*batch)
    assert run.step == STEPS
    return found


@pytest.mark.parametrize(("name", "changes"), VARIANTS, ids=str)
def test_no_step_reads_a_value(name: str, changes: dict[str, object], tmp_path: Path) -> None:
    assert waits_of_steps(begun(name, changes, tmp_path, "cpu")) == []


@pytest.mark.parametrize("name", OF_ROUNDS)
def test_fine_tuning_between_rounds_has_the_steps_of_other_masks(name: str) -> None:
    kind = methods.get(name)
    for event in ("begin_step", "extra_loss", "after_backward", "after_step"):
        assert getattr(kind, event) is getattr(MaskedMethod, event)


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without values on a CUDA device that is not there.

    What asks the driver is replaced: gradients are zeros, generators draw on the CPU, optimizers
    have no fused kernel, and no time is taken. Masks, which depend on values, are all True, and
    treated as if something were pruned.
    """

    def backward(total: Tensor) -> None:
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)

    def nearly_whole(masks: Mapping[str, Tensor]) -> dict[str, int]:
        return {name: mask.numel() - 1 for name, mask in masks.items()}

    parameters: list[Tensor] = []
    original = loop.build_optimizer

    def build_optimizer(spec: Optimizer, groups: Groups) -> torch.optim.Optimizer:
        optimizer = original(spec, groups)
        for group in optimizer.param_groups:
            group.update(fused=False, foreach=True)
            parameters.extend(group["params"])
        return optimizer

    monkeypatch.setattr(loop, "build_optimizer", build_optimizer)
    monkeypatch.setattr(Tensor, "backward", backward)
    monkeypatch.setattr(torch, "Generator", FakeGenerator)
    monkeypatch.setattr(protocol._Clock, "running", lambda clock, device: nullcontext())
    monkeypatch.setattr(masked, "survivors", nearly_whole)
    monkeypatch.setattr(MaskedMethod, "prune_to", lambda method, kept, rule: None)
    with FakeTensorMode():
        yield


# These choose by values, or by gradients, before the first step; their steps are those of masks.
BY_VALUES = ("gmp", "snip", "rd", "acdc", "deep-compression")
SLOW = ("ftwt", "ipruning", "edropout")  # a fake step of these costs a second


@pytest.mark.usefixtures("fake_gpu")
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param(*each, marks=[pytest.mark.slow] * (each[0] in SLOW))
        for each in VARIANTS
        if each[0] not in BY_VALUES
    ],
    ids=str,
)
def test_steps_stay_on_their_device(name: str, changes: dict[str, object], tmp_path: Path) -> None:
    assert waits_of_steps(begun(name, changes, tmp_path, "cuda")) == []


@pytest.mark.usefixtures("fake_gpu")
def test_masks_stay_on_their_device() -> None:
    weight = torch.randn(8, 4, device="cuda")
    with watched() as found:
        pattern = n_of_m(weight, 2, 4)
        (factor,) = multipliers([weight], [pattern])
    assert {pattern.device.type, factor.device.type, *found} == {"cuda"}


def evaluated(device: str) -> list[str]:
    """What waited in the batches of an evaluation after the first."""
    model = network_on(device).eval()
    batches = resident_batches(images(24), EVALUATION, device, batch_size=8)
    tally = protocol._Tally(model)
    tally.writes_input = False  # the one look at the first batch
    with watched() as found:
        for pictures, labels in batches.passing():
            tally.add(pictures, labels)
    assert tally.error is None and tally.batches == 3
    return found


def test_no_evaluated_batch_reads_a_value() -> None:
    assert evaluated("cpu") == []


@pytest.mark.usefixtures("fake_gpu")
def test_evaluated_batches_stay_on_their_device() -> None:
    assert evaluated("cuda") == []


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: bool(x.sum() > 0),
        lambda x: float(x.sum()),
        lambda x: [0, 1, 2][x.long()[0]],
        lambda x: x.nonzero(),
        lambda x: torch.where(x > 0),
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: torch.equal(x, x),
        lambda x: x.unique(),
        lambda x: x.cpu(),
        lambda x: x.__setitem__(x > 0, x[:1]),
        lambda x: torch.rand(1, generator=FakeGenerator("cuda")),
    ],
)
def test_the_watch_finds_what_waits(read: Callable[[Tensor], object]) -> None:
    with watched() as found:
        read(torch.arange(1.0, 3.0))
    assert found


@pytest.mark.usefixtures("fake_gpu")
@pytest.mark.parametrize(
    "read", [lambda x: x.cpu(), lambda x: x.to("cpu"), lambda x: torch.zeros(2).copy_(x)]
)
def test_the_watch_finds_copies_to_the_host(read: Callable[[Tensor], object]) -> None:
    with watched() as found:
        read(torch.ones(2, device="cuda"))
    assert found
