"""What one training step costs: our loop against a bare one, and every method against dense.

    python -m benchmarks.training_step [--model resnet20] [--batch 128] [--small] [--device cpu]

All variants run in turns, a few steps each, so that a busy machine slows all of them alike. A step
is timed from one `begin_step` to the next: it includes the batch, its augmentation, and everything
the loop does in between. The bare loop gets preloaded, normalised tensors. CPU time is that of this
process, which other programs hardly touch. Targets: loop <= 1.05 x bare; masked <= 1.03 x dense;
STR and DNW <= 1.15 x dense.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import parsed
from benchmarks.noise import noise_images
from harness.data import Augment, TrainBatches
from harness.evaluation import Evaluated
from harness.models import build
from harness.registry import Duration, LrSchedule, Optimizer, Recipe
from harness.results import Counts
from harness.training import RunFolder, TrainingTask, build_optimizer, train
from methods.base import Method
from methods.dense import Dense
from methods.dnw import DNW
from methods.magnitude import Magnitude
from methods.str import STR

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
OPTIMIZER = Optimizer("sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
METHODS: dict[str, tuple[type[Method], dict[str, object], str, float]] = {
    "dense": (Dense, {}, "bare", 1.05),
    "magnitude 90 %": (Magnitude, {"sparsity": 0.9}, "dense", 1.03),
    "str": (STR, {"s_init": -5.0}, "dense", 1.15),
    "dnw 90 %": (DNW, {"sparsity": 0.9}, "dense", 1.15),
}
Ticks = list[tuple[float, float]]


class Clock:
    """Wall and CPU seconds of every step of one variant."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.steps: Ticks = []
        self._ticks: Ticks = []

    def tick(self) -> None:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        self._ticks.append((time.perf_counter(), time.process_time()))

    def close(self) -> None:
        """End of a turn; its first step, which warms up, does not count."""
        for before, after in zip(self._ticks[1:], self._ticks[2:], strict=False):
            self.steps.append((after[0] - before[0], after[1] - before[1]))
        self._ticks = []


def bare_turn(model: nn.Module, batch: int, steps: int, device: str, clock: Clock) -> None:
    """Forward, backward, step, and nothing else."""
    images = torch.randn(batch, 3, 32, 32, device=device)
    labels = torch.randint(10, (batch,), device=device)
    optimizer = build_optimizer(OPTIMIZER, [{"params": list(model.parameters())}])
    model.train()
    for _ in range(steps):
        clock.tick()
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    clock.tick()
    clock.close()


def our_turn(
    name: str, model: nn.Module, batch: int, steps: int, device: str, clock: Clock
) -> None:
    """The standardized loop with one method, on resident uint8 data."""
    kind, settings, _, _ = METHODS[name]

    class Timed(kind):  # type: ignore[valid-type,misc]
        def begin_step(self, *arguments: object) -> None:
            clock.tick()
            super().begin_step(*arguments)

        def end_epoch(self, epoch: int) -> None:
            clock.tick()
            super().end_epoch(epoch)

    counts = Counts(n=1, top1=1, top3=1, top5=1, loss_sum=0.0)
    with tempfile.TemporaryDirectory() as folder:
        train(
            TrainingTask(
                model=model,
                method=Timed(kind.Settings(**settings)),
                recipe=Recipe(
                    name="benchmark",
                    version=1,
                    length=Duration(steps, "step"),
                    batch=batch,
                    optimizer=OPTIMIZER,
                    schedule=LrSchedule("cosine", "step"),
                    specified_by="paper",
                ),
                batches=_batches(batch, steps, device),
                evaluate=lambda net: Evaluated(counts, np.zeros(1), 0.0),
                folder=RunFolder(Path(folder), "benchmark"),
                seed=0,
                device=device,
            )
        )
    clock.close()


def _batches(batch: int, steps: int, device: str) -> TrainBatches:
    augment = Augment(crop_padding=4, flip=True)
    return TrainBatches(
        noise_images(batch * steps),
        batch_size=batch,
        mean=MEAN,
        std=STD,
        seed=0,
        augment=augment,
        device=device,
    )


def report(clocks: dict[str, Clock]) -> None:
    """One line per variant: median, quartiles, n, and the ratio to what it is compared with."""
    print(f"{'variant':<16}{'wall ms':>10}{'IQR':>18}{'cpu ms':>10}{'n':>5}   ratio of wall, cpu")
    for name, clock in clocks.items():
        wall, cpu = ([1e3 * step[i] for step in clock.steps] for i in (0, 1))
        low, _, high = quantiles(wall, n=4)
        line = f"{name:<16}{median(wall):>10.2f}{f'{low:.2f}-{high:.2f}':>18}"
        line += f"{median(cpu):>10.2f}{len(wall):>5}"
        if name in METHODS:
            _, _, other, target = METHODS[name]
            than = clocks[other]
            ratios = [
                median(step[i] for step in clock.steps) / median(step[i] for step in than.steps)
                for i in (0, 1)
            ]
            line += f"   {ratios[0]:.3f}, {ratios[1]:.3f} x {other} (target {target:.2f})"
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6, help="per turn; the first warms up")
    chosen = parsed(parser, batch=4, turns=1, steps=4)
    batch, turns = chosen.batch, chosen.turns
    clocks = {name: Clock(chosen.device) for name in ("bare", *METHODS)}

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return build(chosen.model, num_classes=10).to(chosen.device)

    for _ in range(turns):
        for name, clock in clocks.items():
            common = (fresh(), batch, chosen.steps, chosen.device, clock)
            bare_turn(*common) if name == "bare" else our_turn(name, *common)
    where = f"{chosen.device}, {torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{chosen.model}, batch {batch}, {where}")
    report(clocks)


if __name__ == "__main__":
    main()
