"""Whether the tests notice a wrong line: one-token changes, file by file, against the tests beside.

    python -m tests.campaigns.mutation                     every file
    python -m tests.campaigns.mutation methods/masks.py    one file, its survivors printed
    python -m tests.campaigns.mutation --report            and reports/mutation.md written

Large files are sampled (--sample, --seed). Changes that change nothing are kept in
equivalent_mutants.yaml with the reason; one whose line is gone is an error. Exit code 1 if a file
falls below the share that has to be noticed. `python -m tests.campaigns mutation` is the same
with the other campaigns' table.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

import yaml

from tests.campaigns.campaign import Trial, campaign
from tests.campaigns.mutant_runs import survivors
from tests.campaigns.mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.yaml")
FIGURES = ROOT / "reports" / "mutation.json"
REPORT = ROOT / "reports" / "mutation.md"
GOAL_PCT = 90.0  # of the changes that change something
SAMPLE, SEED = 200, 0  # per file

# File -> the tests beside it.
TARGETS: dict[str, tuple[str, ...]] = {
    "harness/maintenance/drift.py": ("tests/maintenance/test_drift.py",),
    "harness/results/tolerances.py": (
        "tests/results/test_tolerances.py",
        "tests/results/test_judged_metrics.py",
        "tests/results/test_figure_outcomes.py",
    ),
    "harness/results/verdicts.py": (
        "tests/results/test_tolerances.py",
        "tests/results/test_judged_metrics.py",
        "tests/results/test_figure_outcomes.py",
    ),
    "harness/results/judged_metrics.py": (
        "tests/results/test_judged_figures.py",
        "tests/results/test_judged_metrics.py",
        "tests/results/test_figure_outcomes.py",
    ),
    "methods/allocation.py": ("tests/methods/test_allocation.py",),
    "methods/masks.py": ("tests/methods/test_masks.py", "tests/methods/test_masked.py"),
    "methods/gmp.py": ("tests/methods/test_gmp.py",),
    "methods/budgets.py": ("tests/methods/test_budgets.py", "tests/methods/test_gmp.py"),
    "harness/profile/macs.py": (
        "tests/profile/test_counts.py",
        "tests/profile/test_products.py",
    ),
    "harness/profile/zeros.py": ("tests/profile/test_zeros.py", "tests/profile/test_counts.py"),
    "harness/registry/recipes.py": (
        "tests/registry/test_recipe_bounds.py",
        "tests/registry/test_recipes.py",
    ),
    "harness/training/optimizers.py": ("tests/training/test_optimizers.py",),
    "harness/checkpoints/sniffing.py": ("tests/checkpoints/test_sniff.py",),
    "harness/checkpoints/pins.py": ("tests/checkpoints/test_pins.py",),
    "harness/profile/conventions.py": ("tests/profile/test_conventions.py",),
    "harness/results/current.py": ("tests/results/test_current.py",),
    "harness/results/figure_outcomes.py": ("tests/results/test_figure_outcomes.py",),
    "harness/evaluation/paired_test.py": ("tests/evaluation/test_paired_test.py",),
    "methods/str.py": ("tests/methods/test_str.py",),
    "methods/acdc.py": ("tests/methods/test_acdc.py",),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of the changes of one file."""

    possible: int
    tried: int
    noticed: int
    equivalent: int
    left: int

    @property
    def noticed_pct(self) -> float:
        real = self.noticed + self.left
        return 100 * self.noticed / real if real else 100.0


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A change that changes nothing: known by the text of its line, before and after."""

    line: str
    becomes: str
    reason: str


def equivalents() -> dict[str, list[Equivalent]]:
    """File -> its changes that change nothing."""
    known = yaml.safe_load(EQUIVALENT.read_text())
    return {file: [Equivalent(**row) for row in rows] for file, rows in known.items()}


def stale(file: str) -> list[str]:
    """Listed changes that the file's text no longer allows."""
    listed = equivalents().get(file)
    if not listed:
        return []
    possible = {(m.line, m.becomes) for m in mutants((ROOT / file).read_text())}
    return [f"{e.line} => {e.becomes}" for e in listed if (e.line, e.becomes) not in possible]


def chosen(file: str, sample: int, seed: int) -> tuple[int, list[Mutant]]:
    """How many changes of the file there are, and those that are tried."""
    possible = mutants((ROOT / file).read_text())
    if len(possible) <= sample:
        return len(possible), possible
    picked = random.Random(f"{seed} {file}").sample(range(len(possible)), sample)
    return len(possible), [possible[place] for place in sorted(picked)]


def measure(file: str, sample: int, seed: int) -> tuple[Figures, list[Mutant]]:
    """The figures of one file and the changes that nothing noticed and nobody explained."""
    possible, tried = chosen(file, sample, seed)
    listed = {(e.line, e.becomes) for e in equivalents().get(file, [])}
    survived = survivors(Path(file), TARGETS[file], tried)
    left = [m for m in survived if (m.line, m.becomes) not in listed]
    equivalent = len(survived) - len(left)
    noticed = len(tried) - len(survived)
    return Figures(possible, len(tried), noticed, equivalent, len(left)), left


@campaign(count=2000, sample=6)
def mutation(trial: Trial) -> Iterator[str]:
    """One-token changes of the lines that judge, allocate, mask, count, schedule and sniff: of
    those that change something, the tests beside each file notice at least 90 %.
    """
    files = list(TARGETS)[: max(1, trial.count // 100)]
    for file in files:
        figures, left = measure(file, trial.count // len(files), trial.rng.randrange(2**32))
        yield from [""] * (figures.tried - len(left))
        for mutant in left:
            text = f"{file}:{mutant.number}: {mutant.line} => {mutant.becomes}"
            yield text if figures.noticed_pct < GOAL_PCT else ""


def record(found: dict[str, Figures], seed: int) -> None:
    """Keep the figures: the first ones of a file stay as `before`."""
    kept = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    for file, figures in found.items():
        row = kept.setdefault(file, {"before": asdict(figures)})
        row["after"] = asdict(figures)
    FIGURES.write_text(json.dumps(kept, indent=1) + "\n")
    REPORT.write_text("".join(_report(kept, seed)))


def _report(kept: dict[str, dict[str, dict[str, int]]], seed: int) -> Iterator[str]:
    yield (
        "# Tests that notice a wrong line\n\nWritten by `python -m tests.campaigns.mutation "
        "--report`: one-token changes of a file (comparisons, arithmetic, constants by one, and/or,"
        " not, return values, min/max, slices) against the tests beside it. Large files are "
        f"sampled (seed {seed}). *Before* is the first run, before the survivors were read "
        "(0: no test stood beside the file, only those of whole commands); "
        "*equivalent* changes change nothing (`tests/campaigns/equivalent_mutants.yaml` says why); "
        "the share is of those that change something.\n\n"
        "| file | before: tried | noticed | % | after: tried | noticed | equivalent | left | % |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    )
    rows = {file: (Figures(**row["before"]), Figures(**row["after"])) for file, row in kept.items()}
    for file, (before, after) in sorted(rows.items()):
        yield _report_row(f"`{file}`", before, after)
    before, after = (_summed([pair[i] for pair in rows.values()]) for i in (0, 1))
    yield _report_row("all", before, after)


def _summed(figures: Sequence[Figures]) -> Figures:
    return Figures(*(sum(column) for column in zip(*map(astuple, figures), strict=True)))


def _report_row(name: str, before: Figures, after: Figures) -> str:
    of = f"{after.tried} of {after.possible}" if after.tried < after.possible else after.tried
    return (
        f"| {name} | {before.tried} | {before.noticed} | {before.noticed_pct:.0f} "
        f"| {of} | {after.noticed} | {after.equivalent} | {after.left} "
        f"| {after.noticed_pct:.0f} |\n"
    )


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="files below the repository; default: all")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="changes tried per file")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--report", action="store_true", help="write reports/mutation.md")
    options = parser.parse_args(words)
    wrong = False
    print(f"{'file':40} {'tried':>6} {'noticed':>8} {'equivalent':>11} {'left':>5} {'%':>4}")
    for file in options.files or TARGETS:
        wrong |= _one(file, options)
    return int(wrong)


def _one(file: str, options: argparse.Namespace) -> bool:
    """Whether the file's tests notice too little, or its list of equivalents is stale."""
    begun = time.monotonic()
    figures, left = measure(file, options.sample, options.seed)
    if options.report:
        record({file: figures}, options.seed)
    print(
        f"{file:40} {figures.tried:6} {figures.noticed:8} {figures.equivalent:11} "
        f"{figures.left:5} {figures.noticed_pct:4.0f}  ({time.monotonic() - begun:.0f} s)",
        flush=True,
    )
    for mutant in left:
        print(f"  {mutant.number}: {mutant.line}\n     => {mutant.becomes}", flush=True)
    gone = stale(file)
    for text in gone:
        print(f"  listed as equivalent, and no longer there: {text}")
    return bool(gone) or figures.noticed_pct < GOAL_PCT


if __name__ == "__main__":
    sys.exit(main())
