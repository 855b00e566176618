"""Shows on real pictures that caching, killing and sharing a pass change no bit.

usage: python -m benchmarks.imagenet_proof [--data-root DIR] [--limit N] [--out FILE.json] [--small]

1. Builds the cache of all 1,000 sample pictures and compares it with torchvision's transforms on
   Pillow images, byte by byte.
2. Builds it again in processes that are killed (SIGKILL) on the way, resumes, compares the hashes.
3. Evaluates Deep Compression's SqueezeNet and two torchvision networks with random weights in one
   pass and one by one; compares counts and the prediction of every picture.

Hashes and counts only are written; no pixel leaves the temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision import transforms

from benchmarks import home, parsed
from benchmarks.imagenet_evaluation import made_up_pictures
from harness import registry
from harness.checkpoints import build_model, load_into, obtain_checkpoint
from harness.data import (
    DecodeCache,
    PictureSet,
    Transform,
    cached,
    evaluation_batches,
    find_pictures,
)
from harness.evaluation import Evaluated, evaluate, evaluate_together
from harness.models import build
from harness.registry import EVALUATION_BATCH
from harness.results import predictions_sha256
from harness.system import Options, Silent, provenance

COMPRESSED = "deep-compression-squeezenet1.0"
RANDOM = ("mobilenet_v3_small", "squeezenet1_1")  # torchvision's, seeds 0 and 1
KILLS = (3, 17, 11)  # chunks that a process decodes before it is killed, one after the other
PROTOCOL = Transform(256, 224)
TRANSFORMS = (PROTOCOL, Transform(232, 224), Transform(232, 224, "bicubic"))


class DiesAfter(Silent):
    """Kills its own process when that many chunks are done."""

    def __init__(self, chunks: int) -> None:
        self._left = chunks

    def advance(self, amount: int = 1, **facts: float) -> None:
        self._left -= amount > 0
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data-root", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--die-after", type=int, help=argparse.SUPPRESS)
    options = parsed(parser, limit=2)
    if not options.small:
        _prove(options)
        return
    with tempfile.TemporaryDirectory() as root:
        options.data_root = made_up_pictures(Path(root))
        _prove(options)


def _prove(options: argparse.Namespace) -> None:
    pictures = find_pictures("imagenet-sample", "val", options.data_root)
    if options.die_after is not None:
        from harness.data import decode_cache

        decode_cache.SYNC_S = 0.0
        decode_cache.cached(pictures, PROTOCOL, "build", True, DiesAfter(options.die_after))
        return
    found: dict[str, Any] = {"versions": provenance.versions()}
    for name, shown in (
        (
            "cache",
            lambda: _cache_equals_torchvision(pictures, TRANSFORMS[: 1 if options.small else None]),
        ),
        (
            "killed",
            lambda: _killed_and_resumed(
                pictures, options.data_root, KILLS[: 1 if options.small else None]
            ),
        ),
        ("one pass", lambda: _one_pass(options)),
    ):
        found[name] = _in_own_home(shown)
        print(json.dumps({name: found[name]}, indent=1), flush=True)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


def _in_own_home(shown: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    with home(temporary=True):
        started = time.perf_counter()
        return {**shown(), "wall_s": round(time.perf_counter() - started, 1)}


def _cache_equals_torchvision(pictures: PictureSet, wanted: Sequence[Transform]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for transform in wanted:
        pixels = cached(pictures, transform, "build", True, Silent())
        assert pixels is not None
        differing = _differing(pictures, transform, pixels)
        name = f"resize {transform.resize} {transform.interpolation}, crop {transform.crop}"
        found[name] = {
            "pictures": len(pixels),
            "bytes": pixels.nbytes,
            "bytes_unlike_torchvision": differing,
            "sha256": DecodeCache(pictures, transform, Silent()).content_sha256,
        }
    return found


def _differing(pictures: PictureSet, transform: Transform, pixels: np.ndarray) -> int:
    assert transform.resize is not None
    mode = transforms.InterpolationMode(transform.interpolation)
    pipeline = transforms.Compose(
        [
            transforms.Resize(transform.resize, mode),
            transforms.CenterCrop(transform.crop),
            transforms.PILToTensor(),
        ]
    )
    return sum(
        int((pipeline(Image.open(file).convert("RGB")).numpy() != held).sum())
        for file, held in zip(pictures.pictures.files, pixels, strict=True)
    )


def _killed_and_resumed(
    pictures: PictureSet, data_root: Path | None, kills: Sequence[int]
) -> dict[str, Any]:
    root = [] if data_root is None else ["--data-root", str(data_root)]
    codes = []
    for chunks in kills:
        command = [sys.executable, "-m", "benchmarks.imagenet_proof", *root]
        done = subprocess.run([*command, "--die-after", str(chunks)])
        codes.append(done.returncode)
    cached(pictures, PROTOCOL, "build", True, Silent())
    resumed = DecodeCache(pictures, PROTOCOL, Silent()).content_sha256
    with home(temporary=True):
        cached(pictures, PROTOCOL, "build", True, Silent())
        whole = DecodeCache(pictures, PROTOCOL, Silent()).content_sha256
    return {
        "chunks_before_each_kill": kills,
        "exit_codes": codes,
        "resumed_sha256": resumed,
        "uninterrupted_sha256": whole,
        "same": resumed == whole,
    }


def _one_pass(options: argparse.Namespace) -> dict[str, Any]:
    known = registry.load()
    entry = known.get(COMPRESSED)
    models: dict[str, nn.Module] = {}
    if not options.small:  # its weights are not ours to ship
        models[COMPRESSED] = build_model(entry)
        obtained = obtain_checkpoint(entry, Options(data_root=options.data_root, offline=True))
        load_into(models[COMPRESSED], obtained.tensors(), entry.id)
    for seed, name in enumerate(RANDOM):
        torch.manual_seed(seed)
        models[name] = build(name, num_classes=1000)
    evaluation = known.evaluation(entry)
    batches = evaluation_batches(
        evaluation, options.data_root, "cpu", EVALUATION_BATCH, options.limit, cache="build"
    )
    together = evaluate_together(list(models.values()), batches)
    rows = {}
    for (name, model), shared in zip(models.items(), together, strict=True):
        alone = evaluate(model, batches)
        assert isinstance(shared, Evaluated)
        rows[name] = {
            "together": asdict(shared.counts),
            "alone": asdict(alone.counts),
            "together_predictions_sha256": predictions_sha256(shared.predictions),
            "alone_predictions_sha256": predictions_sha256(alone.predictions),
            "same": shared.counts == alone.counts
            and bool((shared.predictions == alone.predictions).all()),
        }
    return {"protocol": evaluation.name, "networks": rows}


if __name__ == "__main__":
    main()
