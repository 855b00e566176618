"""What --dry-run prints: the plan of each run, its errors, and the exit code that follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.commands.exit_codes import exit_code
from harness.commands.output import print_json
from harness.commands.visible_text import say_line, say_problem

if TYPE_CHECKING:
    from harness.training import PlannedOutcome, PlannedRun


def print_planned(outcomes: Sequence[PlannedOutcome], as_json: bool) -> int:
    """Plans to stdout, one document for one run and an array for several; errors to stderr."""
    plans = [each.planned for each in outcomes if each.planned is not None]
    if as_json:
        print_json(plans[0] if len(outcomes) == len(plans) == 1 else plans)
    else:
        for plan in plans:
            for name, value in _lines(plan).items():
                if value:
                    say_line(f"{name:<10} {value}")
    errors = [each.error for each in outcomes if each.error is not None]
    for error in errors:
        say_problem(error)
    return max(map(exit_code, errors), default=0)


def _lines(plan: PlannedRun) -> dict[str, str]:
    images = " and ".join(f"{count:,} {split}" for split, count in plan.images.items())
    reused = f", {len(plan.finished_seeds)} finished before" if plan.finished_seeds else ""
    digest = f", sha256 {plan.start_sha256[:12]}" if plan.start_sha256 else ""
    fingerprint = f", fingerprint {plan.data_fingerprint[:12]}" if plan.data_fingerprint else ""
    return {
        "entry": plan.entry,
        "method": f"{plan.method} {dict(plan.settings)}",
        "model": f"{plan.model} on {plan.dataset}",
        "data": f"{images} images{fingerprint}; {plan.evaluation}; {plan.data_note}",
        "recipe": f"{plan.recipe}: {plan.length}, batch {plan.batch}",
        "optimizer": f"{plan.optimizer}, lr {plan.lr:g}",
        "start": f"{plan.start}{digest}",
        "seeds": f"{len(plan.seeds)}{reused}",
        "rounds": plan.rounds or "",
        "steps": f"{plan.steps:,} for each seed",
        "cost": plan.cost,
        "time": _duration(plan.estimated_s),
        "first": plan.first or "",
        "assumed": plan.assumed,
    }


def _duration(seconds: float | None) -> str:
    """An estimate in words; "" where there is none."""
    if seconds is None:
        return ""
    minutes = seconds / 60
    shown = f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min"
    return f"about {shown if minutes >= 1 else f'{seconds:.0f} s'}, by an earlier run here"
