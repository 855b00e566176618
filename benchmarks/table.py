"""Seconds that `bench table` takes on a large store, first time and from its cache.

Results are copies of one that ships with the project, each of an entry of its own with numbers of
its own, in a temporary home. The command runs inside this process; start-up of Python is not part
of it: a table of one result comes before the clock starts.

    python -m benchmarks.table [--results 10000] [--repeats 5] [--small]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path

from click.testing import CliRunner

from benchmarks import home, parsed
from cli import main as bench
from harness import paths

MODEL = (
    Path(__file__).resolve().parent.parent
    / "reports/results/dense-resnet20-cifar10/20261121T143244Z-9d529a78.json"
)
STYLES = ("rich", "json", "latex")


def fill(folder: Path, numbers: range) -> None:
    """One result file below `folder` per number, each of an entry of its own."""
    chance = random.Random(0)
    text = MODEL.read_text()
    document = json.loads(text)
    for i in numbers:
        measured = chance.uniform(10, 95)
        document["entry"] = f"made-up-{i:05d}"
        document["result_id"] = f"20261121T143244Z-{i:08x}"
        document["metrics"]["top1_pct"] |= {"measured": measured, "delta": measured - 91.73}
        document["cost"]["macs_effective"] = chance.randrange(10**6, 4 * 10**7)
        place = folder / document["entry"] / f"{document['result_id']}.json"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(document, indent=1, ensure_ascii=False))


def timed(*words: str) -> tuple[float, float]:
    """(wall, CPU) seconds of one command. Raises if it fails."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = CliRunner().invoke(bench, ["table", *words])
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if done.exit_code:
        raise RuntimeError(done.output)
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parsed(parser, results=20, repeats=1)
    with home(temporary=True):
        results = paths.results_folder()
        fill(results, range(1))
        timed()
        fill(results, range(1, options.results))
        wall, cpu = timed()
        print(f"{options.results:,} results, first table: {wall:.2f} s wall, {cpu:.2f} s CPU")
        for style in STYLES:
            runs = [timed("--format", style) for _ in range(options.repeats)]
            wall, cpu = (statistics.median(times) for times in zip(*runs, strict=True))
            timing = f"{wall:.2f} s wall, {cpu:.2f} s CPU, median of {options.repeats}"
            print(f"again, {style}: {timing}")


if __name__ == "__main__":
    main()
