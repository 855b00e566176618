"""Timing in turns, and what is said about it."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.profile.timing import compare, interleaved, layer_times, times_of
from harness.reports.latency_sentence import latency_sentence_of
from harness.results.schema import Latency, LayerTiming, Times

SLEEP_S = 0.004  # far above what anything else here takes


def slow(value: Tensor) -> None:
    time.sleep(SLEEP_S)


def test_percentiles_of_nought_to_hundred() -> None:
    found = times_of([float(i) for i in range(101)])
    assert (found.p50, found.p90, found.iqr) == (50.0, 90.0, 50.0)


def test_functions_take_turns_on_every_input_after_the_warm_up() -> None:
    seen: list[tuple[str, float]] = []
    inputs = [torch.tensor(float(i)) for i in range(30)]
    functions = {
        name: lambda value, name=name: seen.append((name, float(value))) for name in ("a", "b")
    }
    interleaved(functions, inputs, warmup=2)
    expected = [(name, float(i)) for i in [0, 1, *range(30)] for name in ("a", "b")]
    assert seen == expected


def test_what_sleeps_is_slower_than_what_does_not() -> None:
    inputs = [torch.zeros(1)] * 30
    times = interleaved({"idle": lambda value: None, "slow": slow}, inputs, warmup=0)
    assert times["slow"].p50 >= 1e3 * SLEEP_S > times["idle"].p50


def test_too_few_repeats_are_refused() -> None:
    with pytest.raises(ProtocolError, match="29 repeats are too few"):
        interleaved({"a": slow}, [torch.zeros(1)] * 29)


class Slow(nn.BatchNorm2d):
    def forward(self, images: Tensor) -> Tensor:
        time.sleep(SLEEP_S)
        return images


def test_a_normalisation_counts_with_the_layer_before_it() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 1), Slow(1)).eval()
    spent = layer_times(network, ["0", "2"], [torch.zeros(1, 1, 2, 2)] * 3)
    assert spent["2"] >= 1e3 * SLEEP_S > spent["0"] > 0
    assert all(not module._forward_hooks for module in network.modules())


def test_comparing_networks_leaves_them_alone() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1)).to(memory_format=torch.channels_last).train()
    latency = compare({"dense": network, "other": network}, torch.zeros(30, 1, 2, 2))
    assert network.training
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert (list(latency.ms), latency.repeats) == (["dense", "other"], 30)
    assert [layer.name for layer in latency.layers] == ["0"]


def made(dense: float, skipped: float) -> Latency:
    def times(ms: float) -> Times:
        return Times(n=30, p50=ms, p90=ms)

    layers = (
        LayerTiming(name="conv1", ms_p50={"dense": 1.0, "masked": 1.0, "skipped": 0.5}),
        LayerTiming(name="conv2", ms_p50={"dense": 1.0, "masked": 1.0, "skipped": 3.25}),
    )
    return Latency(
        ms={"dense": times(dense), "masked": times(9.0), "skipped": times(skipped)},
        layers=layers,
        batch=1,
        repeats=100,
        warmup=5,
        device="cpu",
        threads=2,
    )


def test_a_gain_is_a_factor() -> None:
    told = latency_sentence_of(made(6.0, 4.0))
    assert told.best_ms == 4.0
    assert told.sentence.endswith("skipped runs at 1.50 x dense speed")
    assert "batch 1, cpu, 2 threads, n=100" in told.sentence


def test_no_gain_names_the_layer_that_costs_most() -> None:
    sentence = latency_sentence_of(made(2.0, 4.0)).sentence
    assert "0.50 x dense speed, no gain: 1 of 2 layers are faster" in sentence
    assert sentence.endswith("conv2 loses most (+2.250 ms)")
