"""The retrained MNIST rows as a table: printed, measured, verdict, what was assumed, what it cost.

Reads stored results only, full schedules only, and writes the table between the markers of the
page; with --small it prints it. Run it from the project's root:

    python -m benchmarks.mnist_rows --into reports/mnist.md
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from benchmarks import parsed
from benchmarks.pages import put_between
from harness.registry import Registry, load
from harness.results import Result, load_all

JUDGED = (
    "top1_error_pct",
    "early_gain_over_dense_pp",
    "gain_over_dense_pp",
    "size_kb",
    "compression_ratio",
    "flops_remaining_pct",
)
WORDS = {
    "top1_error_pct": "error %",
    "early_gain_over_dense_pp": "better than dense, early stop (pp)",
    "gain_over_dense_pp": "better than dense, last (pp)",
    "size_kb": "size (KB)",
    "compression_ratio": "compression (x)",
    "flops_remaining_pct": "FLOP left, zeros and activations (%)",
}


def newest(registry: Registry) -> list[Result]:
    """The newest full retrained result of every MNIST row, in the registry's order."""
    found: dict[str, Result] = {}
    for result in load_all():
        full = bool(result.runs) and not result.smoke and result.dataset == "mnist"
        if full and result.entry in registry.entries:
            best = found.get(result.entry)
            if best is None or result.result_id > best.result_id:
                found[result.entry] = result
    return [found[entry] for entry in registry.entries if entry in found]


def table(results: list[Result]) -> str:
    """One line per judged figure."""
    lines = [
        "| row | figure | printed | measured, mean ± std | best | n | verdict | CPU s per seed |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- | ---: |",
    ]
    for result in results:
        link = f"[`{result.entry}`](results/{result.entry}/{result.result_id}.json)"
        for metric in JUDGED:
            comparison = result.metrics.get(metric)
            if comparison is None or comparison.published is None:
                continue
            seeds = _per_seed(result, metric)
            if not seeds and comparison.measured is not None:  # the same for every seed
                seeds = [comparison.measured]
            best = [100 - run.best_top1_pct for run in result.runs if run.best_top1_pct is not None]
            lines.append(
                f"| {link} | {WORDS[metric]} | {comparison.published} | {_told(seeds)} "
                f"| {_told(best) if metric == 'top1_error_pct' else '–'} | {len(result.runs)} "
                f"| {comparison.status} | {_cost(result)} |"
            )
    return "\n".join(lines)


def assumptions(registry: Registry, results: list[Result]) -> str:
    """What of each recipe is ours, in a list."""
    names = dict.fromkeys(result.recipe.name for result in results if result.recipe)
    lines = []
    for name in names:
        recipe = registry.recipes[name]
        lines.append(
            f"- `{name}`: assumed {recipe.assumed}. {recipe.note[:1].upper()}{recipe.note[1:]}."
        )
    return "\n".join(lines)


def _per_seed(result: Result, metric: str) -> list[float]:
    if metric == "top1_error_pct":
        return [100 - run.counts.top1_pct for run in result.runs]
    return [run.figures[metric] for run in result.runs if metric in run.figures]


def _told(values: list[float]) -> str:
    if not values:
        return "–"
    mean, n = math.fsum(values) / len(values), len(values)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else 0.0
    return f"{mean:.2f} ± {spread:.2f}" if n > 1 else f"{mean:.2f}"


def _cost(result: Result) -> str:
    """CPU seconds; wall seconds of a single thread, which are no fewer, for older runs."""
    seconds = [run.cpu_s if run.cpu_s is not None else run.wall_s for run in result.runs]
    exact = all(run.cpu_s is not None for run in result.runs)
    return f"{'' if exact else '≤ '}{math.fsum(seconds) / len(seconds):,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=Path("reports/mnist.md"))
    options = parsed(parser, into=None)
    registry = load()
    results = newest(registry)
    inside = f"{table(results)}\n\nWhat was assumed:\n\n{assumptions(registry, results)}"
    if options.into is None:
        print(inside)
        return
    put_between(options.into, "mnist", inside)


if __name__ == "__main__":
    main()
