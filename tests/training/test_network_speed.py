"""What may make a training faster, how it is recorded, and that its absence changes no key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import methods
from harness.data.batches import resident_batches
from harness.errors import Preempted, ProtocolError
from harness.evaluation import evaluate
from harness.models import build
from harness.registry import from_mapping, make_method, plain
from harness.training import Speed, train
from harness.training.network_speed import as_called
from methods.dense import Dense
from tests.support.runs import EVALUATION, RECIPE, images, interrupted, job, network
from tests.training.test_steps_do_not_wait import OF_ROUNDS, SETTINGS

BF16_LOSS = 0.05  # bfloat16 keeps 8 bits; a mean over 40 pictures


def test_the_default_is_the_network_itself() -> None:
    net = network()
    assert as_called(net, Speed(), "cpu") is net


def test_runs_of_before_keep_their_key() -> None:
    assert plain(Speed(), hashed=True) == {"channels_last": False, "compile": False}
    assert from_mapping(Speed, {"channels_last": True, "compile": False}) == Speed(True, False)
    assert plain(Speed(cuda_graphs=True), hashed=True) == {**plain(Speed()), "cuda_graphs": True}


def test_graphs_on_a_cpu_are_one_line_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="training is on cpu. Leave out --cuda-graphs"):
        train(job(tmp_path, speed=Speed(cuda_graphs=True)))


@pytest.mark.gpu
@pytest.mark.parametrize(
    "speed", [Speed(), Speed(channels_last=True), Speed(compile=True), Speed(cuda_graphs=True)]
)
def test_a_gpu_trains_to_the_loss_of_a_cpu(speed: Speed, tmp_path: Path) -> None:
    expected = train(job(tmp_path / "cpu")).history
    found = train(job(tmp_path / "gpu", device="cuda", speed=speed)).history
    assert [row["train_loss"] for row in found] == pytest.approx(
        [row["train_loss"] for row in expected], rel=0.02
    )


@pytest.mark.gpu
def test_half_precision_on_a_gpu_is_close(tmp_path: Path) -> None:
    recipe = replace(RECIPE, precision="amp-bf16")
    expected = train(job(tmp_path / "cpu")).history[-1]["train_loss"]
    graphs = Speed(cuda_graphs=True)
    found = train(job(tmp_path / "gpu", device="cuda", recipe=recipe, speed=graphs))
    assert found.history[-1]["train_loss"] == pytest.approx(expected, abs=BF16_LOSS)


@pytest.mark.gpu
@pytest.mark.parametrize("name", [name for name in methods.BUILT_IN if name not in OF_ROUNDS])
def test_every_method_takes_its_steps_on_a_gpu(name: str, tmp_path: Path) -> None:
    method = make_method(name, SETTINGS.get(name, {}))
    model = build("convnet_tiny", num_classes=4, in_channels=1)
    done = train(job(tmp_path, method, model, device="cuda"))
    assert next(done.model.parameters()).is_cuda and done.last.counts.n == 16


@pytest.mark.gpu
def test_a_run_on_a_gpu_goes_on_where_it_stopped(tmp_path: Path) -> None:
    with pytest.raises(Preempted):
        method = interrupted(Dense, 13)(Dense.Settings())
        train(job(tmp_path, method, network(dropout=0.5), device="cuda"))
    done = train(job(tmp_path, None, network(seed=1, dropout=0.5), device="cuda"))
    assert done.steps == 30 and len(done.history) == 6


@pytest.mark.gpu
def test_an_evaluation_on_a_gpu_predicts_what_a_cpu_does() -> None:
    net = network().eval()
    batches = {d: resident_batches(images(40), EVALUATION, d, 16) for d in ("cpu", "cuda")}
    expected = evaluate(net, batches["cpu"])
    found = evaluate(net.cuda(), batches["cuda"])
    assert found.counts.n == 40
    assert (found.predictions == expected.predictions).mean() >= 0.95
