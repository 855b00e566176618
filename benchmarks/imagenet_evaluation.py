"""ImageNet evaluation from picture files: ours, the usual loops, and the model alone.

usage: python -m benchmarks.imagenet_evaluation [--model mobilenet_v3_small] [--images 1000]
           [--repeats 5] [--data-root DIR] [--out FILE.json] [--small]

Every way runs the same random network in float32 over the same pictures in batches of 250, with
all cores, in turns within one process; a pass counts from nothing to the last count, start of
worker processes included.

bare model       batches decoded and normalised before the clock starts
ours, cached     `evaluate` on the cache of decoded pictures (target: 0.95 of bare)
ours, streaming  `evaluate`, decoding on the way (--no-cache)
DataLoader       torch's DataLoader, torchvision's ImageFolder and transforms, a plain loop
timm             timm's create_loader, a plain loop

Then decoding alone: Pillow on one core in this process; one independent process per core that drops
what it decodes, which is all the machine has to give; and our stream on all cores, its start (0.4 s
of 20 to 60 for the whole validation set) not counted (target: 0.9 x cores x one core). Once as the
protocol asks (the sample's pictures have a short side of 256 already, so nothing is resized) and
once with resizing to 232.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from operator import truediv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks import home, parsed
from harness import paths
from harness.data import (
    EvaluationBatches,
    Transform,
    cores,
    decode,
    evaluation_batches,
    find_pictures,
    in_batches,
)
from harness.evaluation import evaluate
from harness.models import build
from harness.registry import EVALUATION_BATCH, Evaluation, load
from harness.system import provenance, verdict_precision

CACHED_TARGET, STREAM_TARGET = 0.95, 0.9
ONE_CORE_IMAGES = 300
STREAM_ROUNDS = (2, 8)
PROTOCOL = "imagenet-sample-224"


def main() -> None:
    options = _options()
    with home(temporary=True):
        if options.small:
            options.data_root = made_up_pictures(paths.home())
        found = {} if options.decoding else _evaluations(options)
        resizes = (256,) if options.small else (256, 232)
        found["decoding"] = [_decoding(options, resize) for resize in resizes]
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


def made_up_pictures(root: Path) -> Path:
    """`root`, with a picture of noise in each of the sample's 1000 class folders below it."""
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (16, 20, 3), np.uint8))
    for number in range(1000):
        folder = root / "imagenet-sample" / "val" / f"n{number:08d}"
        folder.mkdir(parents=True)
        noise.save(folder / "noise.jpg")
    return root


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="mobilenet_v3_small")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--decoding", action="store_true", help="Only the last part.")
    parser.add_argument("--out", type=Path)
    return parsed(parser, images=2, repeats=1)


def _evaluations(options: argparse.Namespace) -> dict[str, object]:
    evaluation = load().evaluations[PROTOCOL]
    torch.manual_seed(0)
    model = build(options.model, num_classes=1000).eval()

    def batches(cache: str, limit: int | None = options.images) -> EvaluationBatches:
        return evaluation_batches(
            evaluation,
            options.data_root,
            "cpu",
            EVALUATION_BATCH,
            limit,
            cache=cache,  # type: ignore[arg-type]
        )

    batches("build", None)
    cached, streaming = batches("read"), batches("off")
    preloaded = list(cached)
    folder = paths.data_root(options.data_root) / evaluation.dataset / evaluation.split
    ways: dict[str, Callable[[], int]] = {
        "bare model": lambda: _loop(model, preloaded),
        "ours, cached": lambda: evaluate(model, cached).counts.top1,
        "ours, streaming": lambda: evaluate(model, streaming).counts.top1,
        "DataLoader": lambda: _loop(model, _plain_loader(folder, evaluation, options.images)),
        "timm": lambda: _loop(model, _timm_loader(folder, evaluation, options.images)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    correct: dict[str, int] = {}
    _loop(model, preloaded[:1])  # warm-up
    for _ in range(options.repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            correct[name] = way()
            seconds[name].append(time.perf_counter() - started)
    return _told(options, seconds, correct)


def _told(
    options: argparse.Namespace, seconds: dict[str, list[float]], correct: dict[str, int]
) -> dict[str, object]:
    print(f"{options.model}, {options.images} pictures, median of {options.repeats} turns,")
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {cores()} cores")
    rows = {}
    for name, own in seconds.items():
        ratio = statistics.median(b / o for b, o in zip(seconds["bare model"], own, strict=True))
        rate = options.images / statistics.median(own)
        rows[name] = {"images_per_s": rate, "of_bare": ratio, "seconds": own, "top1": correct[name]}
        target = f" (target >= {CACHED_TARGET})" if name == "ours, cached" else ""
        print(f"{name:16} {rate:8.1f} img/s   {ratio:.3f} of bare   top1 {correct[name]}{target}")
    return {
        "model": options.model,
        "images": options.images,
        "batch_size": EVALUATION_BATCH,
        "protocol": PROTOCOL,
        "versions": provenance.versions(),
        "hardware": provenance.hardware("cpu"),
        "ways": rows,
    }


@torch.inference_mode()
def _loop(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> int:
    """What everybody writes: images in, correct answers out."""
    correct = 0
    with verdict_precision():
        for images, labels in batches:
            correct += int((model(images).argmax(1) == labels).sum())
    return correct


def _plain_loader(
    folder: Path, evaluation: Evaluation, images: int
) -> DataLoader[tuple[Tensor, Tensor]]:
    from torchvision import datasets, transforms

    assert evaluation.resize is not None and evaluation.crop is not None
    pipeline = transforms.Compose(
        [
            transforms.Resize(evaluation.resize),
            transforms.CenterCrop(evaluation.crop),
            transforms.ToTensor(),
            transforms.Normalize(evaluation.mean, evaluation.std),
        ]
    )
    pictures = datasets.ImageFolder(str(folder), pipeline)
    chosen = torch.utils.data.Subset(pictures, _spread(len(pictures), images))
    return DataLoader(chosen, batch_size=EVALUATION_BATCH, num_workers=cores())


def _timm_loader(
    folder: Path, evaluation: Evaluation, images: int
) -> Iterable[tuple[Tensor, Tensor]]:
    from timm.data import ImageDataset, create_loader

    assert evaluation.resize is not None and evaluation.crop is not None
    pictures = ImageDataset(str(folder))
    everything = create_loader(
        pictures,
        input_size=(3, evaluation.crop, evaluation.crop),
        batch_size=EVALUATION_BATCH,
        use_prefetcher=False,
        interpolation=evaluation.interpolation,
        mean=evaluation.mean,
        std=evaluation.std,
        num_workers=cores(),
        crop_pct=evaluation.crop / evaluation.resize,
        device=torch.device("cpu"),
        persistent_workers=False,
    )
    if images >= len(pictures):
        return everything
    chosen = torch.utils.data.Subset(pictures, _spread(len(pictures), images))
    return DataLoader(chosen, batch_size=EVALUATION_BATCH, num_workers=cores())


def _spread(total: int, count: int) -> list[int]:
    count = min(count, total)
    return [number * total // count for number in range(count)]


def _decoding(options: argparse.Namespace, resize: int) -> dict[str, object]:
    """Pictures per second on one core and on all of them, taken in turns."""
    evaluation = load().evaluations[PROTOCOL]
    pictures = find_pictures(evaluation.dataset, evaluation.split, options.data_root).pictures
    files, transform = list(pictures.files[: options.images]), Transform(resize, 224)
    work = partial(_decoded, transform)
    rates: dict[str, list[float]] = {"one core": [], "independent": [], "stream": []}
    with ProcessPoolExecutor(cores(), multiprocessing.get_context("spawn")) as pool:
        list(pool.map(work, files[:50]))  # warm-up
        for _ in range(options.repeats):
            rates["one core"].append(_rate(map(work, files[:ONE_CORE_IMAGES])))
            rates["independent"].append(_rate(pool.map(work, files * 2, chunksize=25)))
            rates["stream"].append(_stream_rate(files, transform))
    alone = [rate * cores() for rate in rates["one core"]]
    of_cores = statistics.median(map(truediv, rates["stream"], alone))
    of_independent = statistics.median(map(truediv, rates["stream"], rates["independent"]))
    medians = ", ".join(f"{name} {statistics.median(own):.0f}" for name, own in rates.items())
    print(f"decode, resize {resize}, img/s: {medians}")
    print(f"  stream: {of_cores:.3f} x cores x one core (target >= {STREAM_TARGET}), ", end="")
    print(f"{of_independent:.3f} x independent processes")
    return {
        "resize": resize,
        "images_per_s": rates,
        "of_cores_times_one": of_cores,
        "of_independent": of_independent,
    }


def _stream_rate(files: list[Path], transform: Transform) -> float:
    """Of a long set: a long stream against a short one, so that what both have cancels out."""
    seconds = []
    for rounds in STREAM_ROUNDS:
        started = time.perf_counter()
        for _ in in_batches(files * rounds, transform, EVALUATION_BATCH):
            pass
        seconds.append(time.perf_counter() - started)
    short, long = STREAM_ROUNDS
    return len(files) * (long - short) / (seconds[1] - seconds[0])


def _decoded(transform: Transform, file: Path) -> int:
    """Decode and drop: what a process can do that hands nothing on."""
    return decode(file, transform.resize, transform.crop).shape[-1]


def _rate(pictures: Iterable[object]) -> float:
    started = time.perf_counter()
    count = sum(1 for _ in pictures)
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
