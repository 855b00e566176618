"""Time and memory of a training step with energy-based filter search, against a plain step.

All rows train the same model on the same batch and device, one step of each in turn, so that
changes of the machine's speed hit all of them; on a busy one the ratio of CPU times is steadier.
Ideal with a backward pass of two forwards: margin energy of 8 candidates 3.67, Ising 1.33. With
--memory each row also takes a step in a process of its own, whose peak is told; --steps 0 leaves it
at that. With --out the measurement is kept as JSON, with a table of it and the authors' figures
beside it. Run it from the project's root:

    python -m benchmarks.energy_pruning --model resnet18_cifar --batch 128 --steps 7 \\
        --memory --out reports/energy
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import parsed
from harness import models
from methods.base import Method, Schedule
from methods.dense import Dense
from methods.ipruning import EDropout, IPruning

WARM_UP = 1
FEW_IMAGES = 2  # of a step that only brings the optimizer's state into being
MEMORY_TARGET_GB = 8.0
PLAIN = "plain step"
Step = Callable[..., None]  # trains one step; asked for fewer images, on the first of them
# EPruning / original in the authors' README: Flowers, 8 candidates, one RTX GPU; what is timed,
# the batch size and the GPU's model are not stated.
AUTHORS = {
    "resnet18_cifar": 17.21,
    "resnet34_cifar": 25.12,
    "resnet50_cifar": 19.63,
    "resnet101_cifar": 22.56,
    "alexnet": 28.97,
    "squeezenet1_1": 1.33,
}


def table(batch: int) -> dict[str, tuple[type[Method], dict[str, Any], float | None]]:
    """Row name -> (method, settings, largest ratio to the plain step that is acceptable)."""
    part = max(batch // 8, 1)
    return {
        PLAIN: (Dense, {}, None),
        "margin, 8 candidates and 8 parents live": (EDropout, {}, 4.2),
        "margin, 8 candidates, stale costs": (EDropout, {"live_costs": False}, 4.2),
        f"margin, live, {part} images": (EDropout, {"evaluate_images": part}, None),
        "Ising, 8 candidates": (IPruning, {}, 1.6),
    }


def stepper(method: Method, model: nn.Module, images: torch.Tensor, targets: torch.Tensor) -> Step:
    """A function that trains one step, on the first so many images, as the protocol does."""
    method.attach(model, Schedule(epochs=1, steps_per_epoch=1))
    optimizer = torch.optim.Adadelta(model.parameters(), 1.0, 0.9, 1e-6, weight_decay=1e-5)
    method.begin_epoch(0)
    steps = iter(range(1 << 30))

    def run(count: int | None = None) -> None:
        method.begin_step(next(steps), images[:count], targets[:count])
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[:count]), targets[:count]).backward()
        method.after_backward()
        optimizer.step()
        method.after_step()

    return run


def timed(run: Step, device: torch.device) -> tuple[float, float]:
    """Seconds of one call, the device's queue included, and CPU seconds of this process."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start, cpu = time.perf_counter(), time.process_time()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, time.process_time() - cpu


def peak_bytes(device: torch.device) -> int:
    """Most memory held so far: on the device, or by this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss of a started process may be that of its parent
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def step_of(row: str, arguments: argparse.Namespace) -> Step:
    """A function that trains a network of its own for one step of a row of the table."""
    device = torch.device(arguments.device)
    torch.manual_seed(0)
    side = models.input_size(arguments.model)
    images = torch.randn(arguments.batch, 3, side, side, device=device)
    targets = torch.randint(0, 10, (arguments.batch,), device=device)
    method_class, settings, _ = table(arguments.batch)[row]
    model = models.build(arguments.model, num_classes=10).to(device).train()
    return stepper(method_class(method_class.Settings(**settings)), model, images, targets)


def peak_of(row: str, arguments: argparse.Namespace) -> float:
    """Peak memory of a step in GB (1e9 bytes), interpreter and libraries included on a CPU.

    Only right in a process that did nothing before.
    """
    run = step_of(row, arguments)
    run(FEW_IMAGES)
    run()
    return peak_bytes(torch.device(arguments.device)) / 1e9


def peaks(rows: list[str], arguments: argparse.Namespace) -> dict[str, float]:
    """Peak memory per row, each in a fresh process, one after the other."""
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        return dict(zip(rows, pool.map(peak_of, rows, [arguments] * len(rows)), strict=True))


def taken(rows: list[str], arguments: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """Seconds and CPU seconds of every step per row, the rows in turn; empty without steps."""
    if not arguments.steps:
        return {}
    runs = {row: step_of(row, arguments) for row in rows}
    seconds: dict[str, list[tuple[float, float]]] = {row: [] for row in rows}
    for _ in range(WARM_UP + arguments.steps):
        for row, run in runs.items():
            seconds[row].append(timed(run, torch.device(arguments.device)))
    return {row: times[WARM_UP:] for row, times in seconds.items()}


def medians(seconds: dict[str, list[tuple[float, float]]]) -> dict[str, tuple[float, float]]:
    """Median seconds and CPU seconds of a step per row."""
    return {
        row: (statistics.median(wall), statistics.median(cpu))
        for row, times in seconds.items()
        for wall, cpu in [zip(*times, strict=True)]
    }


def quartiles(
    seconds: dict[str, list[tuple[float, float]]],
) -> dict[str, tuple[float, float] | None]:
    """p25 and p75 of the ratios to the plain step of the same turn; None below two turns."""
    plain = [wall for wall, _ in seconds[PLAIN]]
    found: dict[str, tuple[float, float] | None] = {}
    for row, times in seconds.items():
        ratios = [wall / base for (wall, _), base in zip(times, plain, strict=True)]
        cuts = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else None
        found[row] = (cuts[0], cuts[2]) if cuts else None
    return found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Per row: median seconds, the ratio to the plain step, and peak memory, as asked for."""
    known = table(arguments.batch)
    rows = [row for row in known if row == PLAIN or any(part in row for part in arguments.only)]
    memory = peaks(rows, arguments) if arguments.memory else {}
    steps = taken(rows, arguments)
    seconds, spread = medians(steps), quartiles(steps) if steps else {}
    return {
        "model": arguments.model,
        "batch": arguments.batch,
        "steps": arguments.steps,
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "load_average_1_5_15_min": [round(load, 2) for load in os.getloadavg()],
        "authors_margin_ratio": AUTHORS.get(arguments.model),
        "torch": torch.__version__,
        "rows": [
            {
                "row": row,
                "seconds_p50": seconds[row][0] if seconds else None,
                "ratio": seconds[row][0] / seconds[PLAIN][0] if seconds else None,
                "ratio_p25_p75": spread.get(row),
                "ratio_cpu": seconds[row][1] / seconds[PLAIN][1] if seconds else None,
                "target_ratio": known[row][2],
                "peak_gb": memory.get(row),
            }
            for row in rows
        ],
    }


def markdown(found: dict[str, Any]) -> str:
    """One measurement as a table, and under which conditions it was taken."""
    authors = found["authors_margin_ratio"]
    lines = [
        "| step | ms, median | x plain | p25-p75 | x, CPU | target | authors, 8 | peak GB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in found["rows"]:
        theirs = authors if row["row"].startswith("margin, 8") else None
        ms = None if row["seconds_p50"] is None else 1e3 * row["seconds_p50"]
        cells = (
            _shown(ms, 1),
            _shown(row["ratio"], 2),
            "-".join(_shown(x, 2) for x in row["ratio_p25_p75"] or (None,)),
            _shown(row["ratio_cpu"], 2),
            _shown(row["target_ratio"], 1),
            _shown(theirs, 2),
            _shown(row["peak_gb"], 2),
        )
        lines.append("| " + " | ".join((row["row"], *cells)) + " |")
    return "\n".join(
        [
            f"# {found['model']}, batch {found['batch']}, {found['device']}",
            "",
            *lines,
            "",
            _conditions(found),
            "The authors' figures (README): 17.21x for ResNet-18 to 28.97x for AlexNet, on Flowers "
            "with one RTX GPU; what was timed and the batch size are not stated, so another "
            "machine and another protocol than ours.",
            "",
        ]
    )


def _conditions(found: dict[str, Any]) -> str:
    load = "/".join(f"{value:g}" for value in found["load_average_1_5_15_min"])
    side = models.input_size(found["model"])
    machine = (
        f"{side}x{side} images, {found['threads']} threads, load average {load} (1/5/15 min), "
        f"torch {found['torch']}."
    )
    timing = f"n = {found['steps']} steps of each row in turn after {WARM_UP} of warm-up, "
    memory = (
        " Peak of a process that takes one step with the optimizer's state in place, interpreter "
        f"and libraries included; target {MEMORY_TARGET_GB:g} GB (1e9 bytes)."
    )
    measured = any(row["peak_gb"] is not None for row in found["rows"])
    return (timing if found["steps"] else "") + machine + (memory if measured else "")


def _shown(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}"


def keep(found: dict[str, Any], folder: Path) -> None:
    """Write one measurement as <model>-b<batch>-<device>.json and .md below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{found['model']}-b{found['batch']}-{found['device'].replace(':', '')}"
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"{name}.md").write_text(markdown(found))


def main() -> None:
    """Print one JSON document, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--model", default="resnet18_cifar")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", action="store_true", help="peak memory per row, too")
    parser.add_argument("--only", nargs="*", default=[""], help="rows that contain such a text")
    parser.add_argument("--out", type=Path, help="folder to keep the measurement in")
    arguments = parsed(parser, model="resnet20", batch=4, steps=1)
    found = measure(arguments)
    print(json.dumps(found, indent=2))
    if arguments.out:
        keep(found, arguments.out)


if __name__ == "__main__":
    main()
