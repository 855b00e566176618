"""The picture of a trade-off as a Vega-Lite specification with its numbers in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.reports.plots.axes import TOP1_RANGE, Axis, logarithmic
from harness.reports.plots.limits import robust_limits
from harness.reports.plots.points import Point
from harness.reports.plots.styles import Style, styles
from harness.system import replace_text

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
FRONT = "#444444"


def write_vega_lite(
    found: Sequence[Point],
    lines: Sequence[Sequence[Point]],
    front: Sequence[Point],
    axis: Axis,
    title: str,
    target: Path,
) -> Path:
    """Write the specification into `target`; the path."""
    document = vega_lite(found, lines, front, axis, title)
    replace_text(target, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return target


def vega_lite(
    found: Sequence[Point],
    lines: Sequence[Sequence[Point]],
    front: Sequence[Point],
    axis: Axis,
    title: str,
) -> dict[str, Any]:
    """The specification: error bars, curves, front, marks."""
    costs = [p.cost for p in found]
    scale, unit = axis.unit(costs)
    log = logarithmic(axis, costs)
    most = None if axis.at_most is None else axis.at_most / scale
    x = {
        "field": "cost",
        "type": "quantitative",
        "title": f"{axis.title}, {unit}" if unit else axis.title,
        "scale": {
            "type": "log" if log else "linear",
            "nice": False,
            "domain": robust_limits(
                [min(costs) / scale, max(costs) / scale], None if log else 0.0, most, log
            ),
        },
    }
    y = {
        "field": "top1_pct",
        "type": "quantitative",
        "title": "top-1 accuracy, %",
        "scale": {
            "domain": robust_limits([p.top1_pct for p in found], *TOP1_RANGE),
            "clamp": True,  # what lies beyond stands at the edge
        },
    }
    looks = styles(p.method for p in found)
    towards = "step-before" if axis.rising else "step-after"
    step = {"type": "line", "interpolate": towards, "strokeDash": [5, 4], "color": FRONT}
    layers = [
        _layer([front], scale, step, x, y) if front else None,
        _layer(lines, scale, {"type": "line"}, x, y, looks) if lines else None,
        _bars(found, scale, x, y, looks),
        _marks(found, scale, x, y, looks),
    ]
    return {
        "$schema": SCHEMA,
        "title": {"text": title, "anchor": "start"},
        "width": 560,
        "height": 380,
        "layer": [layer for layer in layers if layer is not None],
    }


def _values(groups: Sequence[Sequence[Point]], scale: float) -> list[dict[str, Any]]:
    return [
        {
            "entry": p.entry,
            "method": p.method,
            "number": p.kind,
            "cost": p.cost / scale,
            "top1_pct": p.top1_pct,
            "low": p.top1_pct - (p.std_pp or 0),
            "high": p.top1_pct + (p.std_pp or 0),
            "std_pp": p.std_pp,
            "partial": p.partial,
            "own": p.own,
            "curve": place,
        }
        for place, group in enumerate(groups)
        for p in group
    ]


def _colour(looks: dict[str, Style]) -> dict[str, Any]:
    return {
        "field": "method",
        "type": "nominal",
        "scale": {"domain": list(looks), "range": [look.colour for look in looks.values()]},
    }


def _layer(
    groups: Sequence[Sequence[Point]],
    scale: float,
    mark: dict[str, Any],
    x: dict[str, Any],
    y: dict[str, Any],
    looks: dict[str, Style] | None = None,
) -> dict[str, Any]:
    """Lines through each of `groups`, in the given order."""
    colour = {} if looks is None else {"color": _colour(looks)}
    order = {"detail": {"field": "curve"}, "order": {"field": "cost"}}
    return {
        "data": {"values": _values(groups, scale)},
        "mark": mark,
        "encoding": {"x": x, "y": y, **order, **colour},
    }


def _bars(
    found: Sequence[Point],
    scale: float,
    x: dict[str, Any],
    y: dict[str, Any],
    looks: dict[str, Style],
) -> dict[str, Any] | None:
    spread = [p for p in found if p.std_pp]
    if not spread:
        return None
    return {
        "data": {"values": _values([spread], scale)},
        "mark": {"type": "rule"},
        "encoding": {
            "x": x,
            "y": {**y, "field": "low"},
            "y2": {"field": "high"},
            "color": _colour(looks),
        },
    }


def _marks(
    found: Sequence[Point],
    scale: float,
    x: dict[str, Any],
    y: dict[str, Any],
    looks: dict[str, Style],
) -> dict[str, Any]:
    hollow = "datum.number === 'published' || datum.partial"
    shape = {
        "field": "method",
        "type": "nominal",
        "scale": {"domain": list(looks), "range": [look.shape for look in looks.values()]},
    }
    return {
        "data": {"values": _values([found], scale)},
        "mark": {"type": "point", "size": 70},
        "encoding": {
            "x": x,
            "y": y,
            "color": _colour(looks),
            "fill": {
                "condition": {"test": hollow, "value": "white"},
                "field": "method",
                "scale": _colour(looks)["scale"],
                "legend": None,
            },
            "shape": shape,
            "tooltip": [
                {"field": name} for name in ("entry", "number", "cost", "top1_pct", "partial")
            ],
        },
    }
