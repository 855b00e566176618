"""Training images per CPU second of LeNet-300-100 at batch 100: our loop, dense and SNIP, and bare.

Made-up 28x28 pictures, one thread, an epoch of each in turn; CPU time is that of this process. The
bare loop gets one preloaded, normalised batch and does forward, backward and step, nothing else.
Target: the loop reaches 38,000. Run it from the project's root:

    python -m benchmarks.lenet_throughput --turns 5
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import parsed
from benchmarks.noise import noise_images
from harness.data import ImageSet, TrainBatches
from harness.evaluation import Evaluated
from harness.models import build
from harness.registry import load
from harness.results import Counts
from harness.training import RunFolder, TrainingTask, build_optimizer, train
from methods.base import Method
from methods.dense import Dense
from methods.snip import Snip, SnipSettings

BATCH, TARGET = 100, 38_000
IMAGES = 54_000  # as many as SNIP trains on
RECIPE = "snip-mnist-75k"


def our_epoch(method: Method, images: ImageSet) -> None:
    """One epoch of the standardized loop; its evaluation costs nothing here."""
    recipe = load().recipes[RECIPE]
    steps = replace(recipe, length=replace(recipe.length, count=len(images) // BATCH))
    batches = TrainBatches(
        images, batch_size=BATCH, mean=(0.13,), std=(0.31,), seed=0, channels="gray"
    )
    counts = Counts(n=1, top1=1, top3=1, top5=1, loss_sum=0.0)
    with tempfile.TemporaryDirectory() as folder:
        train(
            TrainingTask(
                model=build("lenet300"),
                method=method,
                recipe=steps,
                batches=batches,
                evaluate=lambda net: Evaluated(counts, np.zeros(1), 0.0),
                folder=RunFolder(Path(folder), "benchmark"),
                seed=0,
            )
        )


def bare_epoch(count: int) -> None:
    """Forward, backward, step, and nothing else."""
    model = build("lenet300").train()
    images, labels = torch.randn(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))
    optimizer = build_optimizer(
        load().recipes[RECIPE].optimizer, [{"params": list(model.parameters())}]
    )
    for _ in range(count // BATCH):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--images", type=int, default=IMAGES)
    options = parsed(parser, turns=1, images=500)
    turns, count = options.turns, options.images
    torch.set_num_threads(1)
    images = noise_images(count, channels=1, side=28)
    ways: dict[str, Callable[[], None]] = {
        "bare": lambda: bare_epoch(count),
        "dense, our loop": lambda: our_epoch(Dense(Dense.Settings()), images),
        "SNIP 95 %, our loop": lambda: our_epoch(Snip(SnipSettings(sparsity=0.95)), images),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, run in ways.items():
            before = time.process_time()
            run()
            rates[name].append(count / (time.process_time() - before))
    print(f"images per CPU second, median of {turns} epochs in turn, target {TARGET:,}")
    for name, found in rates.items():
        print(f"{name:<20} {median(found):>8,.0f}   {min(found):,.0f} to {max(found):,.0f}")


if __name__ == "__main__":
    main()
