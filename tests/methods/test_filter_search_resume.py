"""A filter search that is stopped after every step, and goes on in new objects, bit for bit."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.base import Schedule
from methods.ipruning import EDropout, IPruning
from tests.methods.ipruning_cases import TinyNet, lived_in

EPOCHS = 2
SHORT, LONG = 5, 14  # batches; the released EDropout tests its stop rule from the 12th on
Run = tuple[nn.Module, Any, torch.optim.Optimizer]

CASES = [  # method, settings, batches per epoch
    pytest.param(EDropout, {}, SHORT, id="edropout"),
    pytest.param(EDropout, {"live_costs": False, "evaluate_every": 3}, SHORT, id="edropout-stale"),
    pytest.param(IPruning, {"early_epoch": 1}, SHORT, id="ipruning"),
    pytest.param(IPruning, {"live_costs": False}, SHORT, id="ipruning-stale"),
    pytest.param(EDropout, {"variant": "released", "early_epoch": 0}, LONG, id="edropout-released"),
    pytest.param(
        EDropout, {"variant": "released", "early_epoch": 1}, LONG, id="edropout-released-late"
    ),
    pytest.param(
        IPruning, {"variant": "released", "early_epoch": 1}, SHORT, id="ipruning-released"
    ),
    pytest.param(IPruning, {"variant": "released"}, SHORT, id="ipruning-released-by-cost"),
]


def batch(number: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    images = torch.randn(4, 12, 6, 6, generator=generator)
    return images, torch.randint(0, 5, (4,), generator=generator)


def started(method_class: Any, chosen: dict[str, Any], seed: int) -> Run:
    """A new run; `seed` moves what a saved state has to bring along."""
    model = lived_in(TinyNet(), seed).train()
    method = method_class(method_class.Settings(candidates=4, **chosen))
    method.attach(model, Schedule(EPOCHS, LONG, seed=5))
    optimizer = torch.optim.Adadelta(model.parameters(), 1.0, 0.9, 1e-6, weight_decay=1e-5)
    return model, method, optimizer


def reopened(run: Run, fresh: Run) -> Run:
    """`fresh` in the state of `run`, by way of a file."""
    file = io.BytesIO()
    torch.save([part.state_dict() for part in run], file)
    file.seek(0)
    for part, state in zip(fresh, torch.load(file, weights_only=True), strict=True):
        part.load_state_dict(state)
    fresh[0].train()
    return fresh


def step(run: Run, number: int) -> float:
    model, method, optimizer = run
    images, targets = batch(number)
    method.begin_step(number, images, targets)
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images), targets)
    loss.backward()
    method.after_backward()
    optimizer.step()
    method.after_step()
    return float(loss.detach())


def trained(run: Run, batches: int, between: Callable[[Run], Run]) -> tuple[Run, list[Any]]:
    """The finished run and what every step and every evaluation saw, as the loop has them."""
    seen: list[Any] = []
    for epoch in range(EPOCHS):
        run[1].begin_epoch(epoch)
        for number in range(epoch * batches, (epoch + 1) * batches):
            loss = step(run, number)
            method = run[1]
            counters = (method.generations, int(method.unchanged), method.converged)
            seen.append((loss, method.best.tolist(), *counters))
            if (number + 1) % batches:
                run = between(run)
        run[1].end_epoch(epoch)
        run = between(run)
        with torch.no_grad():
            seen.append(run[0].eval()(batch(99)[0]).tolist())
        run[0].train()
    return run, seen


@pytest.mark.parametrize(("method_class", "chosen", "batches"), CASES)
def test_a_search_stopped_after_every_step_ends_with_the_same_bits(
    method_class: Any, chosen: dict[str, Any], batches: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("methods.ipruning.ipruning_and_edropout.IP_FIRST_GENERATION", 3)
    whole, expected = trained(started(method_class, chosen, seed=0), batches, lambda run: run)

    def between(run: Run) -> Run:
        return reopened(run, started(method_class, chosen, seed=9))

    pieces, seen = trained(started(method_class, chosen, seed=0), batches, between)

    assert seen == expected
    if chosen.get("variant") == "released":  # or the counters of the stop rules went unused
        stopped = [entry[-1] for entry in expected if isinstance(entry, tuple)]
        assert stopped[-1] and 0 < stopped.index(True) % batches
    for name, value in pieces[0].state_dict().items():
        assert torch.equal(value, whole[0].state_dict()[name]), name
    assert torch.equal(pieces[1].final_state(), whole[1].final_state())


@pytest.mark.parametrize("method_class", [IPruning, EDropout])
def test_a_search_resumed_after_its_last_epoch_is_evaluated_under_its_mask(
    method_class: Any,
) -> None:
    run = started(method_class, {}, seed=0)
    run[1].begin_epoch(0)
    step(run, 0)
    run[1].end_epoch(0)
    images, _ = batch(1)
    masked = run[0].eval()(images)

    again = reopened(run, started(method_class, {}, seed=9))

    assert torch.equal(again[0].eval()(images), masked)
    again[1].begin_epoch(1)
    assert not torch.equal(again[0](images), masked)
