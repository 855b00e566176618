"""What becomes of a result once it is stored: a picture beside it, and a run in MLflow."""

from __future__ import annotations

from collections.abc import Callable

from harness.reports.mlflow import mirror
from harness.reports.plots.density import density_beside
from harness.results import Result


def publisher(
    note: Callable[[str], object],
    tracking_uri: str | None = None,
    *,
    mirrored: bool = True,
    sweep: str | None = None,
) -> Callable[[Result], None]:
    """The listener that every procedure is handed as `on_result`.

    What was trained or pruned gets a picture of its layers' densities. note: hears of the first
    problem with MLflow, which ends the mirroring; the results are stored already. sweep: name of
    the sweep that the results belong to.
    """
    working = mirrored

    def publish(result: Result) -> None:
        nonlocal working
        if result.runs:
            density_beside(result)
        if working and (problem := mirror(result, tracking_uri, sweep)):
            working = False
            note(problem)

    return publish
