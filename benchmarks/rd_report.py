"""Table, findings and picture of `rd_against_baselines`, from its stored rows."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from harness import paths

RD = "RD"
JOINT = "joint RD"
RULES = (JOINT, RD, "LAMP", "ERK", "uniform+", "global", "uniform")
HELD_OUT = 500  # test images, evenly spread, on which distortion is measured once more
AGAIN = "top1_recalibrated_pct"  # of a row: accuracy after recalibration
_SHADES = ("#000000", "#c0392b", "#1f4e79", "#3f8f5b", "#d59b2d", "#7a5195", "#8a8f98")
COLOURS = dict(zip(RULES, _SHADES, strict=True))
Row = dict[str, Any]


def folder() -> Path:
    """reports/rd"""
    return paths.home() / "reports" / "rd"


def finding(rows: list[Row], target_pct: float, measure: str) -> str:
    """Which rule moved the logits least at this target, and where RD as published stands."""
    found = {r["rule"]: r for r in rows if r["target_pct"] == target_pct and "cannot" not in r}
    if RD not in found or len(found) < 2:
        return "not all rules are measured yet"
    if JOINT not in found:
        return additive_finding(found, measure)
    ranked = sorted(found, key=lambda name: found[name][measure])
    unseen = measure.replace("distortion", "unseen")
    seen, new = (", ".join(f"{n} {found[n][m]:.4g}" for n in ranked) for m in (measure, unseen))
    return f"{ranked[0]} moves the logits least: {seen}; on {HELD_OUT} test images {new}"


def additive_finding(found: dict[str, Row], measure: str) -> str:
    """Whether RD as published moved the logits least, and if not, why not."""
    others = [name for name in found if name not in (RD, JOINT)]
    best = min(others, key=lambda name: found[name][measure])
    mine, theirs = found[RD], found[best]
    both = f"RD {mine[measure]:.4g}, {best} {theirs[measure]:.4g}"
    if mine[measure] <= theirs[measure]:
        return f"RD moves the logits least: {both} next"
    sums = f"the layers' own distortions add up to {mine['sum']:.4g} and {theirs['sum']:.4g}"
    if mine["sum"] > theirs["sum"]:
        return f"RD is not lowest: {both}. {sums}: {best} uses rates between RD's grid points"
    ratios = (mine[measure] / mine["sum"], theirs[measure] / theirs["sum"])
    return (
        f"RD is not lowest: {both}. Yet {sums}, so RD solved its own problem better; layers pruned "
        f"together do not add up here (measured / sum: RD {ratios[0]:.2f}, {best} {ratios[1]:.2f})"
    )


def tally(records: list[Row]) -> str:
    """At how many targets each rule moved the logits least, on pictures it saw and on others."""
    lowest: dict[str, Counter[str]] = {"distortion": Counter(), "unseen": Counter()}
    targets = 0
    for content in records:
        rows = [r for r in content["rows"] if r["target_pct"] and "cannot" not in r]
        for target in {r["target_pct"] for r in rows}:
            found = [r for r in rows if r["target_pct"] == target]
            if not any(r["rule"] == JOINT for r in found):
                continue
            targets += 1
            for measure, counts in lowest.items():
                key = f"{measure}_{content['configuration']['reduction']}"
                counts[min(found, key=lambda row: row[key])["rule"]] += 1
    seen, new = (
        ", ".join(f"{rule} at {n}" for rule, n in counts.most_common())
        for counts in lowest.values()
    )
    return (
        f"Lowest measured distortion, of {targets} targets with all rules: {seen} on the "
        f"calibration images; {new} on {HELD_OUT} test images that no rule has seen."
    )


def markdown(records: list[Row]) -> str:
    """Table and findings of every network and configuration."""
    parts = ["# Rate-distortion pruning against other rules, one-shot, no fine-tuning", ""]
    parts += [
        "distortion: squared change of the calibration logits, mean over classes; sum: what the "
        "single-layer curves add up to (– where no curve was measured); unseen: "
        f"the distortion of the section's kind on {HELD_OUT} test images, evenly spread; MACs of "
        "conv and linear weights times density.",
        "",
        tally(records),
        "",
    ]
    for content in records:
        how = content["configuration"]
        parts.append(f"## {content['network']}")
        parts.append(
            f"\n{how['evaluation']}, n = {how['n']:,} test images ({how['test_copy']}); "
            f"{how['calibration']:,} calibration images, K = {how['points']}, {how['reduction']} "
            f"curves, batch {how['batch']}, {how['device']}\n"
        )
        parts += _table(content)
        measure = f"distortion_{how['reduction']}"
        for target in sorted({r["target_pct"] for r in content["rows"]} - {0.0}):
            parts.append(f"- {target:g} %: {finding(content['rows'], target, measure)}.")
            if "recalibrate" in how:
                parts.append(f"- {target:g} %: {won(content['rows'], target, how['recalibrate'])}.")
        parts.append("")
    return "\n".join(parts)


def won(rows: list[Row], target_pct: float, count: int) -> str:
    """What recalibration gave each rule at this target, the most accurate first."""
    found = [r for r in rows if r["target_pct"] == target_pct and "cannot" not in r]
    found.sort(key=lambda row: -row[AGAIN])
    each = [f"{row['rule']} {row['top1_pct']:.2f} -> {row[AGAIN]:.2f} %" for row in found]
    return f"batch norms recalibrated on {count:,} training images: {', '.join(each)}"


def _table(content: Row) -> list[str]:
    more = ("recalibrated %",) if "recalibrate" in content["configuration"] else ()
    numbers = ("top-1 %", *more, "worst", "mean", "unseen", "sum", "sparsity %", "MACs left %")
    unseen = f"unseen_{content['configuration']['reduction']}"
    lines = [
        "| " + " | ".join(("target %", "rule", *numbers)) + " |",
        "| ---: | --- " + "| ---: " * len(numbers) + "|",
    ]
    for row in sorted(content["rows"], key=lambda r: r["target_pct"]):
        refused = [row.get("cannot", ""), *[""] * (len(numbers) - 1)]
        cells = refused if "cannot" in row else _cells(row, unseen)
        lines.append("| " + " | ".join((f"{row['target_pct']:g}", row["rule"], *cells)) + " |")
    return [*lines, ""]


def _cells(row: Row, unseen: str) -> list[str]:
    again, added = row.get(AGAIN), row.get("sum", None if row["rule"] == JOINT else 0.0)
    return [
        f"{row['top1_pct']:.2f}",
        *([] if again is None else [f"{again:.2f}"]),
        f"{row['distortion_worst']:.4g}",
        f"{row['distortion_mean']:.4g}",
        f"{row[unseen]:.4g}" if unseen in row else "–",
        "–" if added is None else f"{added:.4g}",
        f"{row['sparsity_pct']:.2f}",
        f"{100 * row['macs_effective'] / row['macs_dense']:.2f}",
    ]


def accuracy_plot(records: list[Row], target: Path) -> None:
    """One panel per network: test accuracy over sparsity, one line per rule.

    Dashed: after recalibration.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    wide = math.ceil(math.sqrt(len(records)))
    high = math.ceil(len(records) / wide)
    figure, panels = plt.subplots(
        high, wide, figsize=(4.2 * wide, 3.6 * high), squeeze=False, layout="constrained"
    )
    for axes in panels.flat[len(records) :]:
        axes.set_visible(False)
    for axes, content in zip(panels.flat, records, strict=False):
        dense = [r for r in content["rows"] if r["rule"] == "dense"]
        for rule in RULES:
            rows = [r for r in content["rows"] if r["rule"] == rule and "cannot" not in r]
            line = sorted((r["sparsity_pct"], r["top1_pct"]) for r in rows)
            if line:
                axes.plot(*zip(*line, strict=True), marker="o", label=rule, color=COLOURS[rule])
            again = sorted((r["sparsity_pct"], r[AGAIN]) for r in rows if AGAIN in r)
            if again:
                axes.plot(*zip(*again, strict=True), marker="o", ls="--", color=COLOURS[rule])
        for row in dense:
            axes.axhline(row["top1_pct"], color="#9aa3ad", linestyle="--", linewidth=1)
        how = content["configuration"]
        axes.set_title(
            f"{content['network']}, {how['reduction']} curves, n = {how['n']:,}"
            + ("\ndashed: batch norms recalibrated" if "recalibrate" in how else ""),
            fontsize=9,
        )
        axes.set_xlabel("sparsity, % of conv and linear weights")
        axes.set_ylabel("top-1, %")
        axes.set_ylim(0, 100)
        axes.legend(fontsize=8, frameon=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110, metadata={"Software": None})
    plt.close(figure)


def report() -> None:
    """Write the table and the picture from every record."""
    records = [json.loads(file.read_text()) for file in sorted(folder().glob("*.json"))]
    if not records:
        print(f"no record in {folder().name}/ yet")
        return
    (folder() / "table.md").write_text(markdown(records))
    accuracy_plot(records, folder() / "accuracy.png")
    print(f"{len(records)} records in {folder().name}/table.md and accuracy.png")
