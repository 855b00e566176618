"""ResNet-50 at STR's layer densities over batches of images: native kernels, tables, onnxruntime.

Weights are random, with as many zeros per layer as STR's networks have. 224x224, float32, whole
network, all ways in turns in one process, the first round not counted.

    python -m benchmarks.sparse_batches --threads 2 [--batch 1 8 16 32] [--level 98.05 ...]

Writes reports/sparse/batches.json and batches.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import home, parsed
from benchmarks.sparse_runtime import BUDGETS, MODEL, TARGETS, made_up_budgets
from harness import paths, sparse
from harness.profile import RUNNERS, networks_of_model
from harness.system import provenance

TABLES = [form for form in sparse.FORMS if not form.startswith("planes")]
# More passes where one takes little.
REPEATS = {1: 30, 8: 8, 16: 8, 32: 8}


def measure(dense: nn.Module, pruned: nn.Module, images: Tensor) -> dict[str, Any]:
    """Way -> n, quartiles in milliseconds; and the largest difference of the native kernels."""
    fast = sparse.compile(pruned, images, slower="keep")
    ways: dict[str, Callable[[Tensor], object]] = {
        "native kernels": fast,
        "tables": sparse.compile(pruned, images, only=TABLES),
    }
    onnx = RUNNERS["onnxruntime"]
    if not onnx.unavailable(images.device):
        ways["dense onnxruntime"] = onnx.start(onnx.convert(dense, images), images)
    with torch.inference_mode():
        expected = pruned(images)
        difference = float((fast(images) - expected).abs().max() / expected.abs().max())
    samples: dict[str, list[float]] = {way: [] for way in ways}
    with torch.inference_mode():
        for _ in range(1 + REPEATS.get(len(images), 8)):
            for way, forward in ways.items():
                start = time.perf_counter()
                forward(images)
                samples[way].append(1e3 * (time.perf_counter() - start))
    quartiles = {
        way: [len(taken) - 1, *statistics.quantiles(taken[1:], n=4)]
        for way, taken in samples.items()
    }
    return {"batch": len(images), "difference": difference, "ms": quartiles}


def table(record: dict[str, Any]) -> str:
    """A Markdown page of all levels and batches."""
    lines = [
        "# ResNet-50 over batches of images",
        "",
        "Made by `python -m benchmarks.sparse_batches` (see its head). Medians and quartiles in "
        f"milliseconds for the whole batch, {record['hardware']['cpu']}, {record['threads']} "
        f"threads, {record['taken']}.",
        "",
        "| sparsity % | batch | way | n | p50 | p25–p75 | native kernels are x faster |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for found in record["found"]:
        fast = found["ms"]["native kernels"][2]
        for way, (count, low, middle, high) in found["ms"].items():
            cells = [found["level"], str(found["batch"]), way, str(count), f"{middle:.1f}"]
            cells += [f"{low:.1f}–{high:.1f}", f"{middle / fast:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
    largest = max(found["difference"] for found in record["found"])
    lines += ["", f"Outputs differ by at most {largest:.1e} of the largest from PyTorch's."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="ResNet-50 over batches of images")
    parser.add_argument("--level", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--batch", nargs="+", type=int, default=list(REPEATS))
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--model", default=MODEL)
    arguments = parsed(parser, model="convnet_tiny", level=["98.05"], batch=[1, 2])
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with home(temporary=arguments.small):
        folder = paths.latency_folder().parent / "sparse"
        folder.mkdir(parents=True, exist_ok=True)
        _run(arguments, folder)


def _run(arguments: argparse.Namespace, folder: Path) -> None:
    """Measures what is asked for and writes the page."""
    budgets = made_up_budgets(arguments.model, folder) if arguments.small else BUDGETS
    found: list[dict[str, Any]] = []
    for level in arguments.level:
        networks = networks_of_model(arguments.model, budgets=[f"{budgets}:{level}"])
        dense, pruned = (subject.network for subject in networks.networks)
        for batch in arguments.batch:
            generator = torch.Generator().manual_seed(0)
            images = torch.randn(batch, *networks.input_shape, generator=generator)
            found.append({"level": level, **measure(dense, pruned, images)})
            print(found[-1], flush=True)
            record = {
                "model": arguments.model,
                "threads": torch.get_num_threads(),
                "taken": time.strftime("%Y-%m-%d", time.gmtime()),
                "hardware": provenance.hardware("cpu"),
                "versions": provenance.versions("onnxruntime"),
                "code": provenance.code_version(),
                "found": found,
            }
            (folder / "batches.json").write_text(json.dumps(record, indent=1) + "\n")
            (folder / "batches.md").write_text(table(record))


if __name__ == "__main__":
    main()
