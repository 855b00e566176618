"""What `harness.sparse.compile` hands out, against the model run eagerly: it must never be slower.

Every architecture of the registry and six families of timm, at 0, 50, 90 and 95 % of all conv and
linear weights (largest magnitudes kept, layer by layer), weights random, batch 1. The chosen
network and the model are timed again in turns after the choice, so that a choice which only looked
good once shows.

    python -m benchmarks.never_slower --threads 2 --seconds 220     # again, until all are done
    python -m benchmarks.never_slower --report

Each network and level is one file below reports/sparse/never-slower; a call goes on with what is
missing, level by level, smallest networks first, and begins none after `--seconds`. The page is
reports/sparse/never-slower.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import home, parsed
from harness import paths, registry, sparse
from harness.models import build
from harness.profile import fresh_network, input_shape_of
from harness.system import provenance
from methods.inventory import prunable_weights

LEVELS = (0.0, 0.5, 0.9, 0.95)
IN_ORDER = (0.9, 0.0, 0.95, 0.5)  # a sweep that ends early has seen the most telling ones
FAMILIES = (
    "timm/mobilenetv3_small_100",
    "timm/efficientnet_b0",
    "timm/convnext_tiny",
    "timm/vit_small_patch16_224",
    "timm/swin_tiny_patch4_window7_224",
    "timm/mixer_s16_224",
)
TURNS, PASSES = 10, 3
SETTLE_S = 0.1


def networks() -> list[tuple[str, str | None]]:
    """(model, data set that sets classes and picture size), fewest weights first.

    A model of several data sets is measured on the first of them.
    """
    found: dict[str, str | None] = {}
    for entry in registry.load().entries.values():
        found.setdefault(entry.model, None if entry.dataset == "imagenet" else entry.dataset)
    return sorted([*found.items(), *((name, None) for name in FAMILIES)], key=_weights)


def _weights(named: tuple[str, str | None]) -> int:
    model, dataset = named
    with torch.device("meta"):
        network = _built(model, dataset)
    return sum(p.numel() for p in network.parameters())


def _built(model: str, dataset: str | None) -> nn.Module:
    if dataset is None:
        return build(model)
    about = registry.data_set(dataset)
    return build(model, num_classes=about.classes, in_channels=about.channels)


def _pictures(model: str, dataset: str | None) -> tuple[int, int, int]:
    """(C,H,W) as the registry evaluates the model, which may enlarge the data set's pictures."""
    known = registry.load()
    for entry in known.entries.values():
        if (entry.model, entry.dataset) == (model, dataset):
            return registry.input_shape(known.evaluations[entry.evaluation])
    return input_shape_of(model, dataset)


@torch.no_grad()
def prune_layers_(network: nn.Module, sparsity: float) -> None:
    """Zero the smallest magnitudes of every conv and linear weight, `sparsity` of each."""
    for weight in prunable_weights(network).values():
        flat = weight.stored.view(-1)
        flat[flat.abs().argsort()[: round(sparsity * len(flat))]] = 0


def measure(model: str, dataset: str | None, level: float) -> dict[str, Any]:
    """The record of one network at one level: what runs, its milliseconds and the model's."""
    shape = _pictures(model, dataset)
    network = fresh_network(model, dataset, shape)
    prune_layers_(network, level)
    images = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    began = time.perf_counter()
    fast = sparse.compile(network, images, impossible="replace")
    compile_s = time.perf_counter() - began
    samples = turns(network, fast, images)
    return {
        "model": model,
        "dataset": dataset,
        "level": level,
        "way": fast.plan.network.way,
        "left_out": fast.plan.network.left_out,
        "choice_ms": {way: ms.p50 for way, ms in fast.plan.network.ms.items()},
        "compile_s": round(compile_s, 2),
        "samples_ms": samples,
        "threads": torch.get_num_threads(),
        "taken": time.strftime("%Y-%m-%d", time.gmtime()),
        "hardware": provenance.hardware("cpu"),
        "versions": provenance.versions("onnxruntime"),
    }


@torch.inference_mode()
def turns(network: nn.Module, fast: nn.Module, images: Tensor) -> dict[str, list[float]]:
    """Milliseconds of `eager` and `chosen`, in turns, every second turn the other way round."""
    taken: dict[str, list[float]] = {"eager": [], "chosen": []}
    order = [("eager", network), ("chosen", fast)]
    for _ in range(TURNS):
        for way, forward in order:
            settled = time.perf_counter() + SETTLE_S
            forward(images)
            while time.perf_counter() < settled:
                forward(images)
            for _ in range(PASSES):
                start = time.perf_counter()
                forward(images)
                taken[way].append(round(1e3 * (time.perf_counter() - start), 4))
        order.reverse()
    return taken


def ratios(record: dict[str, Any]) -> tuple[float, float, float]:
    """Quartiles of eager / chosen, passes of one turn beside one another; above 1 is faster."""
    eager, chosen = record["samples_ms"]["eager"], record["samples_ms"]["chosen"]
    found = [slow / fast for slow, fast in zip(eager, chosen, strict=True)]
    p25, p50, p75 = statistics.quantiles(found, n=4, method="inclusive")
    return p25, p50, p75


def is_slower(record: dict[str, Any]) -> bool:
    """Slower beyond noise: three quarters of the pairs say so. The model itself is no slower."""
    return record["way"] != "eager" and ratios(record)[2] < 1


def page(records: list[dict[str, Any]], left: int) -> str:
    """The page: one row a network, its levels side by side. left: how many are not measured yet."""
    newest = records[-1]
    slower = [record for record in records if is_slower(record)]
    count = len(records)
    lines = [
        "# Never slower",
        "",
        "Made by `python -m benchmarks.never_slower` (see its head): what `harness.sparse.compile` "
        "hands out against the same model run eagerly, batch 1, random weights, the smallest "
        "magnitudes of every layer zero.",
        "",
        f"{newest['hardware']['cpu']}, {newest['threads']} threads, n = {TURNS * PASSES} each, in "
        f"turns, after the choice; torch {newest['versions']['torch']}, onnxruntime "
        f"{newest['versions'].get('onnxruntime', 'not installed')}.",
        "",
        f"**{len(slower)} of {count} slower beyond noise** (third quartile of the ratio below 1): "
        + (", ".join(f"{_name(r)} at {100 * r['level']:g} %" for r in slower) or "none")
        + f". Not measured yet: {left} of {count + left} pairs of network and level.",
        "",
        "Each cell: what runs, how many times faster than eager (quartiles).",
        "",
        "| network | " + " | ".join(f"{100 * level:g} % zeros" for level in LEVELS) + " |",
        "| --- |" + " --- |" * len(LEVELS),
    ]
    for name in dict.fromkeys(map(_name, records)):
        cells = {record["level"]: _cell(record) for record in records if _name(record) == name}
        lines.append(f"| {name} | {' | '.join(cells.get(level, '–') for level in LEVELS)} |")
    reasons = {
        f"{_name(record)}: {way} left out, {reason}"
        for record in records
        for way, reason in record["left_out"].items()
    }
    return "\n".join([*lines, "", *(f"- {reason}" for reason in sorted(reasons)), ""])


def _name(record: dict[str, Any]) -> str:
    return record["model"] + (f" ({record['dataset']})" if record["dataset"] else "")


def _cell(record: dict[str, Any]) -> str:
    p25, p50, p75 = ratios(record)
    return f"{record['way']} {p50:.2f} ({p25:.2f}–{p75:.2f})"


def missing(folder: Path, levels: Iterable[float]) -> Iterator[tuple[str, str | None, float, Path]]:
    """What has no file yet, level by level."""
    every = networks()
    for level in levels:
        for model, dataset in every:
            name = f"{model.replace('/', '-')}-{dataset or 'imagenet'}-{100 * level:g}.json"
            if not (folder / name).exists():
                yield model, dataset, level, folder / name


def main() -> None:
    parser = argparse.ArgumentParser(description="compiled networks against the model run eagerly")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--seconds", type=float, default=220, help="begin nothing after these")
    parser.add_argument("--level", type=float, nargs="+", default=IN_ORDER)
    parser.add_argument("--report", action="store_true", help="only make the page")
    arguments = parsed(parser, seconds=0.01, level=[0.9])
    warnings.simplefilter("ignore")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    with home(temporary=arguments.small):
        folder = paths.latency_folder().parent / "sparse" / "never-slower"
        folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        for model, dataset, level, file in (
            [] if arguments.report else missing(folder, arguments.level)
        ):
            record = measure(model, dataset, level)
            file.write_text(json.dumps(record) + "\n")
            print(_name(record), f"{100 * level:g} %:", _cell(record), file=sys.stderr, flush=True)
            if time.monotonic() - began > arguments.seconds:
                break
        records = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
        text = page(records, sum(1 for _ in missing(folder, LEVELS)))
        folder.with_name("never-slower.md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
