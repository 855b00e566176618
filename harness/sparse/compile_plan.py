"""What was chosen for every layer, and what was measured to choose it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


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
class CompilePlan:
    """Layers in order, the image rows per block chosen for each size of feature map (height,
    width), and the number of threads all this was measured with."""

    layers: tuple[LayerPlan, ...]
    rows_per_block: dict[tuple[int, int], int]
    threads: int

    def to_json(self) -> str:
        """The plan as a JSON document."""
        document = {
            "threads": self.threads,
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
