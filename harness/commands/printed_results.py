"""What verbs that evaluate print at their end, and the exit code that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.commands.exit_codes import CANNOT_CHECK, VERDICT, exit_code
from harness.commands.output import console, print_json, print_rich
from harness.commands.visible_text import say_line, say_problem

if TYPE_CHECKING:
    from harness.errors import BenchError
    from harness.evaluation import Outcome
    from harness.registry import Entry
    from harness.results import FastMeasurement, Result

OPEN = ("cannot check", "ambiguous preprocessing")  # a verdict that decides nothing
FEW = 3  # results that are shown metric by metric


def report(outcomes: Sequence[Outcome], as_json: bool) -> None:
    """Errors to stderr; verdicts, or one JSON array of all, to stdout."""
    failed = [(each.entry, each.error) for each in outcomes if each.error is not None]
    for _, error in failed:
        say_problem(error)
    done = [each.result for each in outcomes if each.result is not None]
    if as_json:
        alone = [(e.entry, e.error) for e in outcomes if e.error is not None and e.result is None]
        print_json([*done, *(_cannot_check(entry, error) for entry, error in alone)])
    else:
        print_results(done)


def print_results(results: Sequence[Result]) -> None:
    """Verdicts of `results`, and their fast measurements below: many in a table, few in full."""
    from harness.reports import verdict_blocks, verdict_lines
    from harness.results import failed

    if len(results) > FEW:
        screen = console()
        screen.print(verdict_lines(results, screen.width), end="", crop=False)
        for result in results:
            if failed(result.verdict.status):
                say_line(f"{result.entry}: {result.verdict.status}: {result.verdict.reason}")
    elif results:
        print_rich(verdict_blocks(results))
    for result in results:
        if result.fast is not None:
            say_line(f"{result.entry}  {fast_sentence(result.fast)}")


def fast_sentence(fast: FastMeasurement) -> str:
    """A fast measurement in one line."""
    ways = [fast.dtype, fast.memory_format, *(["compiled"] if fast.compiled else [])]
    return (
        f"fast, not judged ({', '.join(ways)}): top1_pct {fast.counts.top1_pct:.2f}, "
        f"{fast.flipped:,} of {fast.counts.n:,} predictions are not those of float32; "
        f"{fast.images_per_s:.1f} img/s against {fast.float32_images_per_s:.1f}, "
        f"after {fast.preparation_s:.1f} s of preparation"
    )


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """0 fine, 3 a verdict failed, 4 something cannot be checked, else the worst error's code."""
    from harness.results import failed as is_failure

    results = [each.result for each in outcomes if each.result is not None]
    if any(is_failure(result.verdict.status) for result in results):
        return VERDICT
    if any(result.verdict.status in OPEN or stands_in(result) for result in results):
        return CANNOT_CHECK
    return max((exit_code(each.error) for each in outcomes if each.error), default=0)


def stands_in(result: Result) -> bool:
    """Whether other images than the entry's were seen, so that its accuracy still waits."""
    return result.data is not None and result.data.dataset != result.dataset


def _cannot_check(entry: Entry, error: BenchError) -> dict[str, Any]:
    return {
        "entry": entry.id,
        "verdict": {"status": "cannot check", "reason": str(error)},
        "error": type(error).__name__,
    }
