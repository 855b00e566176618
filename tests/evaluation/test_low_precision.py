"""The fast measurement: compared image by image, beside the verdict, never instead of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness import registry
from harness.data import evaluation_batches
from harness.data.batches import EvaluationBatches
from harness.evaluation.low_precision import FORMS, measure_fast_
from harness.evaluation.protocol import Evaluated, evaluate, evaluate_together
from harness.evaluation.reproduce import reproduce_entry
from harness.models import build
from harness.results.schema import FastMeasurement
from harness.results.store import load_all, predictions_sha256
from harness.system.options import Options
from harness.system.precision import fast_precision
from harness.system.progress import Silent


@pytest.fixture(autouse=True)
def without_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes half a minute; everything else is the same without it."""
    monkeypatch.setenv("BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CXX", "no-such-compiler")


def digits() -> EvaluationBatches:
    return evaluation_batches(registry.load().evaluations["digits"], None, "cpu", 100)


def network() -> nn.Module:
    torch.manual_seed(3)
    return build("convnet_tiny", num_classes=10, in_channels=1).eval()


class Rounded(nn.Module):
    """Two classes so close that bfloat16 takes them for equal."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(2, 10).T)

    def forward(self, images: Tensor) -> Tensor:
        close = torch.tensor([1.0, 1.0 + 2**-12]).expand(len(images), 2)
        return nn.functional.linear(close, self.weight)


def test_flipped_predictions_are_counted_image_by_image() -> None:
    model = Rounded()
    exact = evaluate(model, digits())
    assert exact.predictions.tolist() == [1] * 364
    (found,) = measure_fast_([model], [exact], digits(), Silent())
    assert isinstance(found, FastMeasurement)
    assert found.flipped == 364  # ties go to the first class
    assert found.predictions_sha256 == predictions_sha256(np.zeros(364, np.uint16))


def test_it_is_bfloat16_on_channels_last_images() -> None:
    seen: list[tuple[bool, torch.dtype]] = []

    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 10, 8)

        def forward(self, images: Tensor) -> Tensor:
            logits = self.conv(images)
            last = self.conv.weight.is_contiguous(memory_format=torch.channels_last)
            seen.append((last, logits.dtype))
            return logits.flatten(1)

    model = Looks().eval()
    exact = evaluate(model, digits())
    assert {dtype for _, dtype in seen} == {torch.float32}
    seen.clear()
    (found,) = measure_fast_([model], [exact], digits(), Silent())
    assert isinstance(found, FastMeasurement)
    assert set(seen) == {(True, torch.bfloat16)}
    assert (found.dtype, found.memory_format, found.compiled) == (
        "bfloat16",
        "channels_last",
        False,
    )
    assert found.counts.n == 364 and found.images_per_s > 0 and found.float32_images_per_s > 0
    again = evaluate_together([_autocast(model)], digits(), None, fast_precision)[0]
    assert isinstance(again, Evaluated)
    assert found.flipped == int((again.predictions != exact.predictions).sum())


def _autocast(model: nn.Module) -> nn.Module:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                logits: Tensor = self.model(images)
            return logits

    return Wrapped()


def test_one_that_fails_leaves_the_others() -> None:
    class FailsInBfloat16(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network()

        def forward(self, images: Tensor) -> Tensor:
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("no such kernel")
            logits: Tensor = self.body(images)
            return logits

    models = [FailsInBfloat16(), network()]
    exact = [evaluate(model, digits()) for model in models]
    failed, found = measure_fast_(models, exact, digits(), Silent())
    assert isinstance(failed, RuntimeError)
    assert isinstance(found, FastMeasurement)


def test_the_result_holds_both_and_judges_one() -> None:
    known = registry.load()
    entry = known.get("dense-convnet-tiny-digits")
    plain = reproduce_entry(entry, known, Options(offline=True))
    both = reproduce_entry(entry, known, Options(offline=True, fast=True))
    assert plain.fast is None and both.fast is not None
    same = ("counts", "metrics", "verdict", "predictions_sha256", "precision", "cost")
    assert {name: getattr(both, name) for name in same} == {
        name: getattr(plain, name) for name in same
    }
    assert both.precision == "float32" and both.fast.counts.n == 364
    assert {result.result_id for result in load_all()} == {plain.result_id, both.result_id}


def test_the_compilers_limit_is_raised_while_networks_run_and_then_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = torch._dynamo.config.recompile_limit
    assert before < FORMS
    seen = []

    class Watched(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(torch._dynamo.config.recompile_limit)
            return torch.zeros(len(images), 10) + self.bias

        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(10))

    monkeypatch.setattr("harness.evaluation.low_precision.missing_compiler", lambda device: "")
    monkeypatch.setattr(torch, "compile", lambda model: model)
    batches = digits()
    exact = evaluate(network(), batches)
    [found] = measure_fast_([Watched()], [exact], batches, Silent())
    assert isinstance(found, FastMeasurement)
    assert len(seen) > 1 and set(seen) == {FORMS}
    assert torch._dynamo.config.recompile_limit == before
