"""What was chosen for every layer, and what was measured to choose it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class LayerPlan:
    """One convolution or linear layer.

    shape: of the weight. macs_dense: multiply-accumulates of the layer for one image; macs_sparse:
    those of the weights that are not zero and meet a filter that is read; density: their ratio.
    ms: milliseconds of each way tried, its copies, bias, residual and activation included. form:
    the way chosen, the fastest.
    """

    name: str
    shape: tuple[int, ...]
    density: float
    macs_dense: int
    macs_sparse: int
    form: str
    ms: dict[str, float]


@dataclass(frozen=True)
class NetworkTimes:
    """Quartiles of `n` passes of the whole network, in milliseconds."""

    p25: float
    p50: float
    p75: float
    n: int


SPARSE = "sparse"


@dataclass(frozen=True)
class NetworkChoice:
    """The way the whole network runs, and what was measured in turns to choose it.

    way: "sparse", or a dense one that was faster. ms: of every way for `batch` images; empty if
    nothing was compared. left_out: way -> why it was not measured; "sparse" among them could not be
    compiled.
    """

    way: str = SPARSE
    batch: int = 1
    ms: dict[str, NetworkTimes] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """In one sentence: "runs sparse: 3.10 ms (eager 9.21 ms, onnxruntime 5.02 ms), batch 1"."""
        said = [f"runs {self.way}"]
        if self.way in self.ms:
            rest = sorted((ms.p50, way) for way, ms in self.ms.items() if way != self.way)
            others = ", ".join(f"{way} {p50:.2f} ms" for p50, way in rest)
            said.append(f": {self.ms[self.way].p50:.2f} ms" + (f" ({others})" if others else ""))
            said.append(f", batch {self.batch}")
        reasons = [f"; {way} left out: {reason}" for way, reason in self.left_out.items()]
        return "".join([*said, *reasons])


@dataclass(frozen=True)
class CompilePlan:
    """Layers in order, the image rows per block chosen for each size of feature map (height,
    width), the number of threads all this was measured with, and the way the whole network runs.

    bands: of rows in which an image goes through the layers on its large maps, see planes.bands.
    """

    layers: tuple[LayerPlan, ...]
    rows_per_block: dict[tuple[int, int], int]
    threads: int
    network: NetworkChoice = field(default_factory=NetworkChoice)
    bands: int = 1

    def to_json(self) -> str:
        """The plan as a JSON document."""
        document = {
            "threads": self.threads,
            "bands": self.bands,
            "network": asdict(self.network),
            "rows_per_block": {f"{h}x{w}": rows for (h, w), rows in self.rows_per_block.items()},
            "layers": [asdict(layer) for layer in self.layers],
        }
        return json.dumps(document, indent=1)

    def table(self) -> str:
        """The plan as a Markdown table, times in milliseconds."""
        lines = [
            "| layer | weight | density % | dense MACs (M) | form | ms | best dense ms |",
            "| --- | --- | ---: | ---: | --- | ---: | ---: |",
        ]
        for layer in self.layers:
            dense = [ms for form, ms in layer.ms.items() if form.startswith("dense")]
            shape = "x".join(map(str, layer.shape))
            best = f"{min(dense):.3f}" if dense else "–"
            lines.append(
                f"| {layer.name} | {shape} | {100 * layer.density:.2f} | "
                f"{layer.macs_dense / 1e6:.2f} | {layer.form} | {layer.ms[layer.form]:.3f} | "
                f"{best} |"
            )
        return "\n".join(lines)
