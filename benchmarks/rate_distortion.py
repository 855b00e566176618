"""Cost of rate-distortion curves and of the exact solver.

Curves: `curves` against the plain loop (layers x 101 full forward passes), same batches, one
thread, rounds alternating, medians of CPU seconds so that another load on the machine disturbs
little. Both are measured at a few rates and extrapolated to 101: the loop by the pass, `curves` by
a fixed part (recording, values before each layer) plus a part per rate; rate 0 costs it nothing.
The curves of both sides are compared at the rates that ran.

Solver: seconds and peak memory of its arrays on the layer sizes of two ImageNet networks.

    python -m benchmarks.rate_distortion [--model resnet20 --images 128 --batch 64] [--rounds 3]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import parsed
from harness.models import build, input_size
from methods.inventory import prunable_weights
from methods.masks import keep_largest
from methods.rate_distortion import measure, solve_exact

TARGET_RATIO = 0.6
TARGET_SECONDS = {"resnet50": 10.0, "vgg16_bn": 20.0}
TARGET_BYTES = 2**30
RATES = [0.3, 0.6, 0.9]
ALL_RATES = 101


def loop(model: nn.Module, batches: list[Tensor], rates: list[float]) -> Tensor:
    """The definition: a full forward pass per layer, rate and batch; worst-case curves."""
    rows = []
    with torch.inference_mode():
        dense = [model(batch) for batch in batches]
        for layer in prunable_weights(model).values():
            weight = layer.parameter
            assert isinstance(weight, nn.Parameter)
            original = weight.detach().clone()
            row = []
            for rate in rates:
                kept = weight.numel() - int(rate * weight.numel())
                weight.copy_(original * keep_largest(original.abs(), kept))
                pairs = zip(batches, dense, strict=True)
                errors = [(model(b) - y).double().square().mean(1).max() for b, y in pairs]
                row.append(torch.stack(errors).max())
            weight.copy_(original)
            rows.append(torch.stack(row))
    return torch.stack(rows)


def cpu_seconds(run: Callable[[], Tensor]) -> tuple[float, Tensor]:
    """CPU time of one call, and what it returned."""
    started = time.process_time()
    result = run()
    return time.process_time() - started, result


def compare_curves(name: str, images: int, batch: int, rounds: int) -> float:
    """Prints both sides for one network; the ratio of their times at 101 rates."""
    torch.manual_seed(0)
    model = build(name).eval()
    data = torch.randn(images, 3, input_size(name), input_size(name))
    batches = list(data.split(batch))

    def fast(rates: list[float]) -> Tensor:
        return measure(model, data, rates, "worst", batch_size=batch).distortion

    fast(RATES[:1])  # imports and allocator warm up outside the timing
    samples = []
    for _ in range(rounds):
        plain, expected = cpu_seconds(lambda: loop(model, batches, RATES))
        one, _ = cpu_seconds(lambda: fast(RATES[:1]))
        several, measured = cpu_seconds(lambda: fast(RATES))
        per_rate = (several - one) / (len(RATES) - 1)
        naive_total = plain / len(RATES) * ALL_RATES
        fast_total = one + per_rate * (ALL_RATES - 2)
        samples.append((naive_total, fast_total, fast_total / naive_total))
        difference = float(((measured - expected).abs() / expected.clamp_min(1e-30)).max())
        print(
            f"{name}: loop {plain / len(RATES):.2f} s per rate, curves {per_rate:.2f} s per rate "
            f"+ {one - per_rate:.2f} s; largest relative difference {difference:.1e}",
            flush=True,
        )
    naive, quick, ratio = (statistics.median(column) for column in zip(*samples, strict=True))
    print(
        f"{name}, {images} images, batch {batch}, {len(prunable_weights(model))} layers, "
        f"{ALL_RATES} rates (extrapolated): loop {naive:.0f} s, curves {quick:.0f} s, "
        f"ratio {ratio:.2f} (target {TARGET_RATIO}), n={rounds}"
    )
    return ratio


def time_solver(name: str) -> None:
    """Prints seconds and peak memory of one exact solve at half the weights."""
    with torch.device("meta"):
        layers = prunable_weights(build(name))
    sizes = [int(layer.parameter.numel()) for layer in layers.values()]
    generator = np.random.default_rng(0)
    phi = np.arange(ALL_RATES) / (ALL_RATES - 1)
    noise = generator.uniform(0.97, 1.03, (len(sizes), ALL_RATES))
    table = generator.uniform(0.1, 3, (len(sizes), 1)) * phi**3 * noise
    tracemalloc.start()
    started = time.perf_counter()
    choices = solve_exact(table, sizes, sum(sizes) // 2)
    seconds = time.perf_counter() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    kept = sum(n - int(phi[k] * n) for n, k in zip(sizes, choices, strict=True))
    print(
        f"exact solver, {name}: {len(sizes)} layers, {sum(sizes):,} weights: {seconds:.2f} s "
        f"(target {TARGET_SECONDS.get(name, math.nan):.0f}), peak {peak / 2**20:.0f} MiB "
        f"(target {TARGET_BYTES / 2**20:.0f}), keeps {kept / sum(sizes):.4%} of 50 %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, help="one network instead of both")
    parser.add_argument("--images", type=int, default=None)
    parser.add_argument("--batch", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=3)
    options = parsed(parser, model="resnet20", images=2, batch=2, rounds=1)
    torch.set_num_threads(1)
    for name in [options.model] if options.small else TARGET_SECONDS:
        time_solver(name)
    cases = {"resnet20": (128, 64), "resnet50": (2, 2)}
    if options.model:
        cases = {options.model: cases.get(options.model, (8, 8))}
    for name, (images, batch) in cases.items():
        compare_curves(name, options.images or images, options.batch or batch, options.rounds)


if __name__ == "__main__":
    main()
