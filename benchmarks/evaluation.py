"""Throughput of the standardized evaluation against a bare forward loop.

usage: python -m benchmarks.evaluation [--model resnet20] [--images 2000] [--repeats 5] [--small]

Both loops run the same network on the same images, alternating, in one process. The bare loop gets
its images preloaded and normalised and does nothing but call the network; ours also normalises,
counts top-1/3/5, sums the loss and keeps every prediction. Target: at least 0.95 of its throughput.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from benchmarks import parsed
from benchmarks.noise import noise_images
from harness.data import EvaluationBatches, resident_batches
from harness.evaluation import evaluate
from harness.models import build
from harness.registry import EVALUATION_BATCH, load

TARGET = 0.95


def main() -> None:
    options = _options()
    torch.manual_seed(0)
    model = build(options.model, num_classes=10).eval()
    batches = _batches(options.images)
    preloaded = [images for images, _ in batches]
    _bare(model, preloaded[:1])  # warm-up
    ours, bare = [], []
    for _ in range(options.repeats):
        bare.append(_seconds(lambda: _bare(model, preloaded)))
        ours.append(_seconds(lambda: evaluate(model, batches)))
    ratios = [b / o for b, o in zip(bare, ours, strict=True)]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {EVALUATION_BATCH}")
    print(f"{options.model}, {options.images} images 3x32x32, median of {options.repeats}")
    print(f"bare forward loop   {options.images / statistics.median(bare):8.1f} img/s")
    print(f"our evaluation      {options.images / statistics.median(ours):8.1f} img/s")
    print(f"ratio               {statistics.median(ratios):8.3f} (target >= {TARGET})")
    print(f"all ratios          {', '.join(f'{ratio:.3f}' for ratio in ratios)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    return parsed(parser, images=50, repeats=1)


def _batches(count: int) -> EvaluationBatches:
    return resident_batches(
        noise_images(count), load().evaluations["cifar10"], "cpu", EVALUATION_BATCH
    )


@torch.inference_mode()
def _bare(model: torch.nn.Module, preloaded: list[torch.Tensor]) -> None:
    for images in preloaded:
        model(images)


def _seconds(function: object) -> float:
    started = time.perf_counter()
    function()  # type: ignore[operator]
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
