"""CIFAR training images per second and core: whole batches here against torchvision one by one.

Both sides do random crop with padding 4, horizontal flip and normalisation to float32, on one CPU
thread, on random pixels, and hand over batches of the same size. Rounds alternate and
their median counts, so that another load on the machine meets both sides.

    python -m benchmarks.augmentation [--rounds 7] [--batch 128] [--small]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmarks import parsed
from benchmarks.noise import noise_images
from harness.data import Augment, ImageSet, TrainBatches

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
TARGET = 4.0  # times torchvision's rate


def one_by_one(images: ImageSet, batch: int) -> Iterator[Tensor]:
    """torchvision v2 on uint8 tensors, image after image, as a data loader without workers does."""
    transform = v2.Compose(
        [
            v2.RandomCrop(32, padding=4),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    order = torch.randperm(len(images)).tolist()
    for first in range(0, len(order), batch):
        yield torch.stack([transform(images.images[row]) for row in order[first : first + batch]])


def rate(batches: Callable[[], Iterator[Tensor]], count: int) -> float:
    """Images per second over the first `count` images of one pass."""
    done, started = 0, time.perf_counter()
    for images in batches():
        done += len(images)
        if done >= count:
            break
    return done / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=20_000)
    options = parsed(parser, rounds=1, images=200, batch=32)
    torch.set_num_threads(1)
    images = noise_images(options.images)
    augment = Augment(crop_padding=4, flip=True)
    batched = TrainBatches(
        images, batch_size=options.batch, mean=MEAN, std=STD, seed=0, augment=augment
    )
    epochs = itertools.count()
    sides = {
        "batched, this project": lambda: (x for x, _ in batched.epoch(next(epochs))),
        "torchvision v2, one by one": lambda: one_by_one(images, options.batch),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for batches in sides.values():
        rate(batches, options.images // 10)  # warm-up
    for _ in range(options.rounds):
        for name, batches in sides.items():
            rates[name].append(rate(batches, options.images // (1 if "batched" in name else 5)))
    ours, theirs = (statistics.median(values) for values in rates.values())
    for name, values in rates.items():
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        print(f"{name:28} {statistics.median(values):10,.0f} img/s per core  ({spread})")
    verdict = "reached" if ours >= TARGET * theirs else "missed"
    print(f"{ours / theirs:.1f} times the rate; target {TARGET:.0f} times: {verdict}")
    print(f"median of {options.rounds} rounds, batch {options.batch}, one thread")


if __name__ == "__main__":
    main()
