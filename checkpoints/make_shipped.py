"""Train the checkpoints that ship with the project and print their registry rows.

usage: python -m checkpoints.make_shipped [ID...] [--small]   (default: the whole quickstart suite)

Seed 0 of each entry is what ships; the spread printed next to it is over seeds 0 to 4 (ddof 1), so
that a retraining on another machine can be judged. Entries that start from the dense baseline need
it in the registry, with its hash, before they are trained: run the dense one first.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from pathlib import Path

from benchmarks import home, parsed
from harness import paths, registry
from harness.system import Options, sha256_file
from harness.training import Training, reproduce_by_training

SEEDS = 5
SHIPPED = Path(__file__).parent / "shipped"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID")
    options = parsed(parser, ids=["dense-convnet-tiny-digits"])
    with home(temporary=options.small):
        make(options.ids, paths.home() if options.small else SHIPPED, options.small)


def make(ids: list[str], folder: Path, small: bool) -> None:
    """Writes the weights of each entry into `folder`; small: two seeds of two steps."""
    known = registry.load()
    wanted = ids or [entry.id for entry in known.suite("quickstart")]
    for name in wanted:
        entry = known.get(name)
        assert entry.recipe is not None, f"{name} has no recipe"
        changes = {"steps": 2} if small else {}
        recipe, changed = registry.with_overrides(known.recipes[entry.recipe], changes)
        seeds = tuple(range(2 if small else SEEDS))
        training = Training(seeds=seeds, evaluate_every=1000, overrides=changed)
        result = reproduce_by_training(entry, known, recipe, Options(), training)
        [trained] = (paths.runs_folder() / name).glob("*-seed0/weights.safetensors")
        target = folder / f"{name}.safetensors"
        shutil.copyfile(trained, target)
        top1 = [run.counts.top1_pct for run in result.runs]
        print(
            f"{name}: checkpoint: {{sources: ['shipped:{target.name}'], format: safetensors, "
            f"sha256: {sha256_file(target)}, size_bytes: {target.stat().st_size}, "
            f"license: Apache-2.0}}, published: {{top1_pct: {{text: '{top1[0]:.2f}', "
            f"std: '{statistics.stdev(top1):.2f}', n_runs: 1}}, "
            f"sparsity_pct: '{result.cost.sparsity_pct:.2f}'}}",
            flush=True,
        )


if __name__ == "__main__":
    main()
