"""Rate-distortion rounds: through kills between layers and inside rounds, and refusals."""

from __future__ import annotations

import pytest
import torch

from harness import paths
from harness.errors import Preempted, ProtocolError
from harness.system.progress import Silent
from harness.training.rounds import prune
from methods.rate_distortion import RateDistortion
from tests.support.runs import assert_same_bits, interrupted, job, network, weights_of
from tests.training.test_rounds import WEIGHTS, rounds

pytestmark = pytest.mark.usefixtures("home")

POINTS = 20


def images() -> torch.Tensor:
    return torch.randn(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def rate_distortion(kind: type[RateDistortion] = RateDistortion, **settings) -> RateDistortion:
    return kind(kind.Settings(**{"points": POINTS, **settings}))


def cached() -> list[str]:
    return sorted(file.name for file in paths.cache_folder().glob("curves/*/*.npy"))


class Passes(Silent):
    """Counts the passes of measurements; stops the program, as a signal would, at one of them."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.count, self.measuring = stop_at, 0, False
        self.bars: list[str] = []

    def stage(self, text: str, total: int | None = None) -> None:
        if total is not None:
            self.bars.append(text)
        self.measuring = text.endswith("distortion curves")

    def advance(self, amount: int = 1, **facts: float) -> None:
        self.count += self.measuring
        if self.count == self.stop_at:
            raise Preempted("SIGTERM")


def test_three_rounds_reach_their_targets_and_resume_inside_a_round(tmp_path):
    recipe = rounds(3, 0.4)
    whole = prune(job(tmp_path / "whole", rate_distortion(), recipe=recipe), images)
    kept = [row["nnz"] for row in whole.history]
    assert kept[0] == WEIGHTS
    for left, target in zip(kept[1:], recipe.prune.targets, strict=True):
        assert left == WEIGHTS - round(WEIGHTS * target)
    stopping = interrupted(RateDistortion, 2)  # of every round's fine-tuning
    with pytest.raises(Preempted):
        prune(job(tmp_path / "parts", rate_distortion(stopping), recipe=recipe), images)
    resumed = prune(job(tmp_path / "parts", rate_distortion(), recipe=recipe), images)
    assert [row["nnz"] for row in resumed.history] == kept
    assert_same_bits(weights_of(resumed.model), weights_of(whole.model))


def test_a_kill_between_layers_loses_only_the_layer_it_was_at(tmp_path):
    recipe = rounds(1, 0.5, "0ep")
    whole = prune(job(tmp_path / "whole", rate_distortion(), recipe=recipe), images)
    for file in paths.cache_folder().glob("curves/*/*.npy"):
        file.unlink()
    killed = Passes(stop_at=POINTS + POINTS // 2)  # one per rate: inside the second layer
    with pytest.raises(Preempted):
        prune(job(tmp_path / "parts", rate_distortion(), recipe=recipe, progress=killed), images)
    assert cached() == ["0.npy"]
    rest = Passes()
    resumed = prune(
        job(tmp_path / "parts", rate_distortion(), recipe=recipe, progress=rest), images
    )
    assert rest.count == 2 * POINTS
    assert_same_bits(weights_of(resumed.model), weights_of(whole.model))


def test_the_bar_says_what_the_solver_does(tmp_path):
    for solver, activity in (
        ("exact", "distortion curves"),
        ("joint", "exchanging weights between layers"),
    ):
        told, method = Passes(), rate_distortion(solver=solver)
        prune(job(tmp_path / solver, method, recipe=rounds(1, 0.5, "0ep"), progress=told), images)
        assert {bar for bar in told.bars if bar.startswith("round ")} == {f"round 1/1: {activity}"}


def test_a_target_out_of_reach_is_one_line_and_leaves_nothing(tmp_path):
    work = job(tmp_path, rate_distortion(solver="official"), recipe=rounds(1, 0.9, "0ep"))
    with pytest.raises(ProtocolError, match="round 1, target 90.00 %: .*use the exact solver"):
        prune(work, images)
    assert cached() == []


@pytest.mark.parametrize("calibration", [lambda: images()[:0], lambda: None])
def test_no_calibration_image_is_one_line_and_leaves_nothing(tmp_path, calibration):
    work = job(tmp_path, rate_distortion(), recipe=rounds(1, 0.5, "0ep"))
    with pytest.raises(
        ProtocolError, match="round 1, .*(no calibration images|pass a calibration)"
    ):
        prune(work, calibration)
    assert cached() == []


def test_logits_that_are_not_finite_are_one_line_and_leave_nothing(tmp_path):
    broken = network()
    broken[7].weight.data[0, 0] = float("nan")
    work = job(tmp_path, rate_distortion(), model=broken, recipe=rounds(1, 0.5, "0ep"))
    with pytest.raises(ProtocolError, match="cannot be measured: .*non-finite logits"):
        prune(work, images)
    assert cached() == []


def test_images_that_break_the_logits_leave_nothing(tmp_path):
    work = job(tmp_path, rate_distortion(), recipe=rounds(1, 0.5, "0ep"))
    with pytest.raises(ProtocolError, match="not finite. Check the weights"):
        prune(work, lambda: images() * float("inf"))
    assert cached() == []
