"""What an evaluation would do: which file and which images it would read, without reading them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.checkpoints import status
from harness.data import describe
from harness.registry import Entry, Registry
from harness.system import Options


@dataclass(frozen=True, slots=True)
class PlannedEvaluation:
    """checkpoint: how the file can be had, see `checkpoints.status`. data: where the images are."""

    entry: str
    evaluation: str
    checkpoint: str
    data: str


def planned_evaluations(
    entries: Iterable[Entry], registry: Registry, options: Options
) -> list[PlannedEvaluation]:
    """One for each entry. Nothing is downloaded."""
    return [
        PlannedEvaluation(
            entry.id,
            f"{entry.evaluation} v{registry.evaluations[entry.evaluation].version}",
            "by hand" if options.from_file else status(entry),
            describe(options.dataset or entry.dataset, options.data_root).text,
        )
        for entry in entries
    ]
