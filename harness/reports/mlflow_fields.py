"""What one result looks like in MLflow: metrics, parameters, tags, artifacts, columns.

Metric names group by their prefix, and MLflow sorts them: delta/..., measured/..., published/...
come first when runs are compared, and fit into the few rows that its compare view shows at once.
What nobody published is reported/..., but for the figures that everybody looks for.
"""

from __future__ import annotations

import csv
import io
import re
from datetime import datetime
from typing import Any

from harness.reports.table.cells import status_words
from harness.results import Result, Run, sample_std

ID_TAG = "reprune.result_id"
# What the run table shows before anybody chooses columns; MLflow sorts them within each group.
COLUMNS = (
    "attributes.`Created`",
    "metrics.`delta/top1_pct`",
    "metrics.`measured/sparsity_pct`",
    "metrics.`measured/top1_pct`",
    "metrics.`published/top1_pct`",
    "params.`dataset`",
    "params.`method`",
    "params.`mode`",
    "tags.`reprune.verdict`",
)
SOUGHT = ("top1_pct", "top3_pct", "top5_pct", "sparsity_pct")  # measured/..., published or not
DECIMALS = 4  # of every share and time: what has more fills its column; the record keeps it
NOTE = (
    "One run per result of `bench`; the JSON file in its artifacts is the record, this page a "
    "mirror.\n\n"
    "- `published/...` is what the source prints, `measured/...` what we found, `delta/...` the "
    "difference in the same unit; `reported/...` is what nobody published.\n"
    "- `work/...` counts: multiply-accumulates and weights, zeros left out.\n"
    "- `timed/...` is the median of one batch in milliseconds.\n"
    "- Parameters are what was chosen; what a protocol fixes stands among the tags.\n"
    "- Results of training have one child run per seed with its learning curve. The link of "
    "`bench ui` leaves them out of the table: clear its filter to see them."
)


def metrics(result: Result) -> dict[str, float]:
    """Everything that is a number."""
    values: dict[str, float | None] = {}
    for name, comparison in result.metrics.items():
        published = comparison.published
        group = "measured" if published is not None or name in SOUGHT else "reported"
        values[f"{group}/{name}"] = comparison.measured
        values[f"published/{name}"] = None if published is None else float(published)
        values[f"delta/{name}"] = comparison.delta
    cost = result.cost
    values |= {
        "work/nnz": cost.nnz,
        "work/params": cost.params,
        "work/macs_dense": cost.macs_dense,
        "work/macs_effective": cost.macs_effective,
        "work/macs_remaining_pct": 100 * cost.macs_effective / cost.macs_dense,
    }
    values["measured/top1_pct_std"] = sample_std([run.counts.top1_pct for run in result.runs])
    if result.latency is not None:
        for way, times in result.latency.ms.items():
            values[f"timed/{_plain(way)}_ms_p50"] = times.p50
    return {name: round(value, DECIMALS) for name, value in values.items() if value is not None}


def run_name(result: Result) -> str:
    """What the run is called: the entry; of a result of one's own first what was set for it.

    Names are cut off in tables, legends and axes, and those of a sweep differ at their end alone:
    `local-gmp-resnet20-cifar10-0.9` becomes `0.9 gmp-resnet20-cifar10`.
    """
    if result.paper is not None:
        return result.entry
    own = result.entry.removeprefix("local-")
    common = re.sub("[^a-z0-9.]+", "-", f"{result.method}-{result.model}-{result.dataset}".lower())
    what = own.removeprefix(f"{common}-")
    return own if what == own else f"{what} {common}"


def parameters(result: Result) -> dict[str, str]:
    """What was chosen, and so may differ between runs that are compared."""
    chosen = {
        "method": result.method,
        "model": result.model,
        "dataset": result.dataset,
        "mode": result.mode,
        **{f"settings.{name}": value for name, value in result.settings.items()},
        **{name: change.value for name, change in result.overrides.items()},
    }
    return {name: str(v)[:500] for name, v in chosen.items() if v is not None}


def tags(result: Result) -> dict[str, str]:
    """Everything to search for and to read, and what a protocol fixes.

    The id of the result is not among them.
    """
    verdict, data, recipe = result.verdict, result.data, result.recipe
    said = status_words(verdict.status, result.paper)
    values = {
        "reprune.entry": result.entry,
        "reprune.paper": result.paper,
        "reprune.method": result.method,
        "reprune.model": result.model,
        "reprune.dataset": result.dataset,
        "reprune.mode": result.mode,
        "reprune.protocol": f"{result.protocol.name} v{result.protocol.version}",
        "reprune.recipe": f"{recipe.name} v{recipe.version}" if recipe else "",
        "reprune.n_images": result.n_images,
        "reprune.seeds": len(result.runs) or "",
        "reprune.verdict": verdict.status,
        "reprune.reason": verdict.reason,
        "reprune.granularity": result.granularity,
        "reprune.smoke": result.smoke,
        "reprune.data": f"{data.copy_name}, {data.fingerprint[:12]}" if data else "",
        "reprune.checkpoint_sha256": result.checkpoint.sha256 if result.checkpoint else "",
        "reprune.checkpoint_source": result.checkpoint.source if result.checkpoint else "",
        "reprune.machine": result.hardware.get("machine", ""),
        "mlflow.source.git.commit": result.code.get("commit") or "",
        "mlflow.note.content": f"**{said}**: {verdict.reason}",
    }
    return {name: str(value) for name, value in values.items() if value}


def seed_metrics(seed: Run) -> list[tuple[str, float, int]]:
    """(name, value, step) of one seed's learning curve and of its last epoch."""
    points = [
        (name, value, int(row.get("epoch", step)))
        for step, row in enumerate(seed.history)
        for name, value in row.items()
        if name != "epoch"
    ]
    return [*points, ("measured/top1_pct", seed.counts.top1_pct, 0)]


def seed_parameters(result: Result, seed: Run) -> dict[str, str]:
    """What tells one seed's run from its siblings and from those of other entries."""
    shared = {"method": result.method, "model": result.model, "dataset": result.dataset}
    return {**shared, "mode": result.mode, "seed": str(seed.seed), "steps": str(seed.steps)}


def layer_csv(result: Result) -> str:
    """The per-layer counts as a table."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("layer", "kind", "shape", "total", "nnz", "macs_dense", "macs_effective"))
    for x in result.cost.layers:
        shape = "x".join(map(str, x.shape))
        writer.writerow((x.name, x.kind, shape, x.total, x.nnz, x.macs_dense, x.macs_effective))
    return out.getvalue()


def created_ms(result: Result) -> int:
    """Creation time in milliseconds since 1970."""
    return int(1000 * datetime.fromisoformat(result.created).timestamp())


def view() -> dict[str, Any]:
    """The state of the run table that a shared link restores: our columns, newest first.

    Results alone: the seeds below them would stand in every comparison as if they were results.
    """
    return {
        "searchFilter": f"tags.`{ID_TAG}` LIKE '%'",
        "selectedColumns": list(COLUMNS),
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
    }


def _plain(way: str) -> str:
    """`way` in the characters a metric's name may have."""
    return "".join(c if c.isalnum() or c in "_-. /" else "_" for c in way)
