"""ResNet-50 at STR's published layer densities in the sparse runtime, against dense runtimes.

Weights are random and their zeros lie at random places, layer by layer as many as STR's networks
have: honest for timing, since a kernel's time depends on how many zeros there are and on the
shapes, not on values; accuracy is not claimed. Batch 1, 224x224, float32, whole network. All ways
run in turns in one process, so that whatever slows the machine down slows all of them down.

    python -m benchmarks.sparse_runtime --threads 2 [--level 98.05 ...] [--repeats 30]
    python -m benchmarks.sparse_runtime --report       # the tables from what is on record

Each level is kept in reports/sparse as resnet50-LEVEL.json, with every sample and the plan of every
layer; README.md there holds the tables.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import home, parsed
from harness import paths, sparse
from harness.models import build
from harness.profile import RUNNERS, in_turns, networks_of_model, times_of
from harness.system import provenance
from methods.inventory import prunable_weights

MODEL = "resnet50"
BUDGETS = Path("tests/fixtures/str/budgets_resnet50.csv")
EAGER, ONNX, SPARSE = "dense eager", "dense onnxruntime", "pruned sparse runtime"
# Level -> how many times faster than dense eager and dense onnxruntime the runtime has to be.
TARGETS = {"90.23": (1.7, 1.3), "95.15": (2.5, 1.8), "98.05": (3.5, 2.5)}


def measure(model: str, budgets: Path, level: str, repeats: int) -> dict[str, Any]:
    """The record of one level: times of every way in milliseconds, and the plan."""
    found = networks_of_model(model, budgets=[f"{budgets}:{level}"])
    dense, pruned = (subject.network for subject in found.networks)
    images = torch.randn(1, *found.input_shape, generator=torch.Generator().manual_seed(0))
    began = time.perf_counter()
    fast = sparse.compile(pruned, images, slower="keep")
    compile_s = time.perf_counter() - began
    ways: dict[str, Callable[[Tensor], object]] = {SPARSE: fast}
    with torch.inference_mode():
        expected = pruned(images)
        difference = float((fast(images) - expected).abs().max() / expected.abs().max())
        for network, owner in ((dense, "dense"), (pruned, "pruned")):
            for backend in ("eager", "channels_last", "onnxruntime"):
                if not RUNNERS[backend].unavailable(images.device):
                    converted = RUNNERS[backend].convert(network, images)
                    ways[f"{owner} {backend}"] = RUNNERS[backend].start(converted, images)
    samples = in_turns(ways, images, repeats)
    return {
        "model": model,
        "level": level,
        "weights": found.networks[1].weights,
        "largest_difference": difference,
        "compile_s": round(compile_s, 1),
        "threads": torch.get_num_threads(),
        "batch": 1,
        "input_shape": found.input_shape,
        "ms": {way: asdict(times_of(taken)) for way, taken in samples.items()},
        "samples_ms": {way: [round(ms, 3) for ms in taken] for way, taken in samples.items()},
        "plan": json.loads(fast.plan.to_json()),
        "taken": time.strftime("%Y-%m-%d", time.gmtime()),
        "hardware": provenance.hardware("cpu"),
        "versions": provenance.versions("onnxruntime", "scipy"),
        "code": provenance.code_version(),
    }


def made_up_budgets(model: str, folder: Path) -> Path:
    """A file like that of STR's budgets: every level, the same for all layers of `model`."""
    file, levels = folder / "budgets.csv", ",".join(TARGETS)
    layers = enumerate(prunable_weights(build(model)), 1)
    rows = [f"Layer {k} - {name},,,{levels}" for k, name in layers]
    file.write_text("\n".join([f"Overall,,,{levels}", *rows]) + "\n")
    return file


def gains(record: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Dense way -> (how many times faster the sparse runtime is, target), medians."""
    fast = record["ms"][SPARSE]["p50"]
    targets = zip((EAGER, ONNX), TARGETS[record["level"]], strict=True)
    return {
        way: (record["ms"][way]["p50"] / fast, target)
        for way, target in targets
        if way in record["ms"]
    }


def network_table(records: list[dict[str, Any]]) -> list[str]:
    """One row per way and level, with the ratios to the dense ways."""
    lines = [
        "| level | way | p50 ms | p90 ms | IQR | dense eager / it | dense onnxruntime / it |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for record in records:
        for way, ms in sorted(record["ms"].items(), key=lambda item: -item[1]["p50"]):
            ratios = [
                f"{record['ms'][base]['p50'] / ms['p50']:.2f}" if base in record["ms"] else "–"
                for base in (EAGER, ONNX)
            ]
            cells = [record["level"], way, f"{ms['p50']:.2f}", f"{ms['p90']:.2f}"]
            cells += [f"{ms['p25']:.2f}–{ms['p75']:.2f}", *ratios]
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def target_lines(records: list[dict[str, Any]]) -> list[str]:
    """Which targets are met, and by how much."""
    lines = ["| level | against | times faster | target | |", "| --- | --- | ---: | ---: | --- |"]
    for record in records:
        for way, (gain, target) in gains(record).items():
            verdict = "met" if gain >= target else f"missed by {100 * (1 - gain / target):.0f} %"
            lines.append(f"| {record['level']} | {way} | {gain:.2f} | {target} | {verdict} |")
    return lines


def layer_table(record: dict[str, Any]) -> list[str]:
    """Per layer: what it is, the way chosen, and its time against the best dense one."""
    plan = record["plan"]
    layers = tuple(
        sparse.LayerPlan(**{**layer, "shape": tuple(layer["shape"])}) for layer in plan["layers"]
    )
    return sparse.CompilePlan(layers, {}, plan["threads"]).table().splitlines()


def report(folder: Path, model: str) -> str:
    """The tables of all levels on record."""
    files = sorted(folder.glob(f"{model}-*.json"))
    records = [json.loads(file.read_text()) for file in files]
    newest = records[-1]
    hardware, versions = newest["hardware"], newest["versions"]
    lines = [
        "# ResNet-50 in the sparse runtime",
        "",
        "Made by `python -m benchmarks.sparse_runtime` (see its head). Weights are random; every "
        "layer has as many zeros as STR's published layer budgets say, at random places. Accuracy "
        "is not claimed.",
        "",
        f"{hardware['cpu']}, {newest['threads']} threads, batch 1, 224x224, float32, whole "
        f"network, n = {newest['ms'][SPARSE]['n']} per way, in turns, {newest['taken']}; torch "
        f"{versions['torch']}, onnxruntime {versions.get('onnxruntime', 'not installed')}.",
        "",
        *target_lines(records),
        "",
        *network_table(records),
        "",
        "Outputs differ from those of the pruned network in PyTorch by at most "
        + ", ".join(f"{r['largest_difference']:.1e} ({r['level']})" for r in records)
        + " of the largest output.",
        "",
    ]
    for record in records:
        rows = ", ".join(f"{s}: {n}" for s, n in record["plan"]["rows_per_block"].items())
        lines += [
            f"## Layers at {record['level']} %",
            "",
            "Times of one layer alone, measured when the network was compiled (in "
            f"{record['compile_s']} s), its copies, bias, residual and activation included; other "
            f"data passes through the cache between runs. Image rows per block: {rows}.",
            "",
            *layer_table(record),
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="ResNet-50 in the sparse runtime")
    parser.add_argument("--level", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--report", action="store_true", help="only make the tables")
    parser.add_argument("--model", default=MODEL)
    arguments = parsed(parser, model="convnet_tiny", level=["98.05"])
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with home(temporary=arguments.small):
        folder = paths.latency_folder().parent / "sparse"
        folder.mkdir(parents=True, exist_ok=True)
        _run(arguments, folder)


def _run(arguments: argparse.Namespace, folder: Path) -> None:
    """Times what is asked for, then makes the tables in `folder`."""
    budgets = made_up_budgets(arguments.model, folder) if arguments.small else BUDGETS
    for level in [] if arguments.report else arguments.level:
        record = measure(arguments.model, budgets, level, arguments.repeats)
        (folder / f"{arguments.model}-{level}.json").write_text(json.dumps(record, indent=1) + "\n")
        print("\n".join(network_table([record]) + target_lines([record])), flush=True)
    (folder / "README.md").write_text(report(folder, arguments.model))


if __name__ == "__main__":
    main()
