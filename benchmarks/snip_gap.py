"""Which of what SNIP's paper does not print explains the distance to its MNIST numbers, if any.

One thing is varied at a time against the recipe of the row, each with several seeds at the full
length. The record and the page are written after every variation; what is on record with as many
seeds is not trained again, and killed, it goes on where it was.
Run it from the project's root:

    python -m benchmarks.snip_gap --seeds 3 --out reports/snip
"""

from __future__ import annotations

import argparse
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import home, parsed
from harness import paths
from harness.registry import Registry, load, with_overrides
from harness.results import Result
from harness.system import Options, Silent
from harness.training import Training, reproduce_by_training

ROW = "snip-lenet300-mnist-95"
EVERY = 2  # epochs between looks at the test set; "best" is over them
VARIATIONS: dict[str, dict[str, object]] = {
    "nothing: as the row is judged": {},
    "biases drawn like weights before pruning": {"settings.bias_init_before": "vs"},
    "one initialisation for mask and training": {"settings.initialisations": 1},
    "both of these: the paper's text alone": {"settings.variant": "paper"},
    "no weight decay": {"optimizer.weight_decay": 0},
    "weight decay 1e-4": {"optimizer.weight_decay": 1e-4},
    "rate 0.03 at the start": {"optimizer.lr": 0.03},
    "25,000 iterations, no drop of the rate": {"steps": 25000},
    "all 60,000 images": {"validation_frac": 0},
}


def measured(
    name: str, registry: Registry, row: str, seeds: int, given: dict[str, object], root: Path | None
) -> dict[str, Any]:
    """One variation, trained or taken from its finished runs."""
    entry = registry.get(row)
    assert entry.recipe is not None
    recipe, changed = with_overrides(registry.recipes[entry.recipe], VARIATIONS[name] | given)
    training = Training(seeds=tuple(range(seeds)), evaluate_every=EVERY, overrides=changed)
    result = reproduce_by_training(
        entry, registry, recipe, Options(data_root=root, progress=Silent()), training
    )
    return {
        "changed": VARIATIONS[name],
        "last_error_pct": [100 - run.counts.top1_pct for run in result.runs],
        "best_error_pct": [100 - (run.best_top1_pct or 0) for run in result.runs],
        "cpu_s": [run.cpu_s for run in result.runs],
        "result": _address(result),
    }


def made_up_digits(folder: Path) -> None:
    """Noise in MNIST's four files."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (1000, 28, 28), np.uint8)
    for name, count in (("train", 60_000), ("t10k", 10_000)):
        pixels = np.tile(noise, (count // 1000, 1, 1)).tobytes()
        labels = (np.arange(count) % 10).astype(np.uint8).tobytes()
        header = struct.pack(">IIII", 0x803, count, 28, 28)
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + pixels)
        header = struct.pack(">II", 0x801, count)
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(header + labels)


def page(record: dict[str, Any]) -> str:
    """The record as a page with one line per variation."""
    printed = record["printed_error_pct"]
    lines = [
        f"# SNIP, LeNet-300-100: what explains the distance to the printed {printed} %?",
        "",
        f"Row `{record['row']}`; every line changes one thing of its recipe and trains at the full "
        "length. Error in % of the 10,000 test",
        "images, mean ± standard deviation over seeds; *best* is the best look at the test set, "
        f"taken every {EVERY} epochs, which no honest",
        "protocol may choose by. Written by `python -m benchmarks.snip_gap`.",
        "",
        "| changed | n | last | best on test | printed | Δ last |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found in record["variations"].items():
        last, best = found["last_error_pct"], found["best_error_pct"]
        lines.append(
            f"| {name} | {len(last)} | {_told(last)} | {_told(best)} | {printed} "
            f"| {_mean(last) - float(printed):+.2f} |"
        )
    return "\n".join([*lines, "", _conclusion(record), ""])


def _conclusion(record: dict[str, Any]) -> str:
    printed, runs = float(record["printed_error_pct"]), record["variations"]
    half = 0.05  # of the one printed decimal
    for kind, words in (("last_error_pct", "last iterates"), ("best_error_pct", "best looks")):
        near = [n for n, found in runs.items() if _mean(found[kind]) - printed <= half]
        if near:
            return f"By their {words}, these give the printed number: {'; '.join(near)}."
    closest = min(runs, key=lambda name: _mean(runs[name]["last_error_pct"]))
    return (
        f"None of these {len(runs)} gives the printed number, neither by the last iterate nor by "
        f"the best look at the test set. The closest is “{closest}”: "
        f"{_told(runs[closest]['last_error_pct'])} %."
    )


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _told(values: list[float]) -> str:
    mean, n = _mean(values), len(values)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1)) if n > 1 else 0.0
    return f"{mean:.2f} ± {spread:.2f}" if n > 1 else f"{mean:.2f}"


def _address(result: Result) -> str:
    return f"{result.entry}/{result.result_id}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", default=ROW)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("reports/snip"))
    chosen = parsed(parser, seeds=1, out=None)
    with home(temporary=chosen.small):
        if chosen.small:
            made_up_digits(paths.home() / "data" / "MNIST" / "raw")
        _run(chosen)


def _run(chosen: argparse.Namespace) -> None:
    """Every variation, with the record and the page written after each."""
    registry = load()
    out = chosen.out or paths.home() / "reports" / "snip"  # the temporary one, if small
    names = list(VARIATIONS)[:2] if chosen.small else list(VARIATIONS)
    given: dict[str, object] = {"steps": 2} if chosen.small else {}
    root = paths.home() / "data" if chosen.small else None
    printed = registry.get(chosen.row).published["top1_error_pct"].text
    record: dict[str, Any] = {"row": chosen.row, "printed_error_pct": printed, "variations": {}}
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{chosen.row}.json"
    if file.exists():
        record["variations"] = json.loads(file.read_text())["variations"]
    done = record["variations"]
    for name in names:
        if name not in done or len(done[name]["last_error_pct"]) < chosen.seeds:
            done[name] = measured(name, registry, chosen.row, chosen.seeds, given, root)
        file.write_text(json.dumps(record, indent=1) + "\n")
        (out / f"{chosen.row}.md").write_text(page(record))
    print(page(record))


if __name__ == "__main__":
    main()
