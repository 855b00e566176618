"""Geometry of the layer-by-layer picture of an entry: one bar per layer, full height = 100 %."""

from __future__ import annotations

from dataclasses import dataclass

from harness.results import Result

WIDTH, HEIGHT = 960.0, 220.0  # of the drawing, without labels


@dataclass(frozen=True, slots=True)
class Bar:
    """One layer. kept_pct: non-zero weights, or executed MACs where the network is dynamic."""

    name: str
    kind: str
    kept_pct: float
    total: int
    nnz: int
    macs_dense: int
    macs_effective: int
    x: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class LayerPlot:
    """All layers in network order."""

    bars: tuple[Bar, ...]
    what: str  # what the height means
    overall_pct: float
    collapsed: tuple[str, ...]  # layers without any weight left

    @property
    def line_y(self) -> float:
        return HEIGHT * (1 - self.overall_pct / 100)


def layer_plot(result: Result) -> LayerPlot | None:
    """The plot of a result, or None if it holds no layers.

    A dynamic network keeps its weights; what counts are executed MACs, and not every one of its
    results has them per layer.
    """
    layers = result.cost.layers
    dynamic = result.granularity == "dynamic"
    executed = sum(layer.macs_effective for layer in layers)
    if not layers or (dynamic and abs(executed - result.cost.macs_effective) > len(layers)):
        return None
    step = WIDTH / len(layers)
    bars = []
    for place, layer in enumerate(layers):
        part, whole = (
            (layer.macs_effective, layer.macs_dense) if dynamic else (layer.nnz, layer.total)
        )
        kept = 100.0 * part / whole if whole else 0.0
        bars.append(
            Bar(
                name=layer.name,
                kind=layer.kind,
                kept_pct=kept,
                total=layer.total,
                nnz=layer.nnz,
                macs_dense=layer.macs_dense,
                macs_effective=layer.macs_effective,
                x=place * step + 0.1 * step,
                width=0.8 * step,
                height=HEIGHT * kept / 100.0,
            )
        )
    cost = result.cost
    overall = 100.0 * cost.macs_effective / cost.macs_dense if dynamic else 100 - cost.sparsity_pct
    return LayerPlot(
        bars=tuple(bars),
        what="executed MACs, %" if dynamic else "non-zero weights, %",
        overall_pct=overall,
        collapsed=cost.collapsed,
    )
