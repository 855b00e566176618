"""From rates of a grid to exactly the number of weights that was asked for.

Rates k / K remove a little more than the target: up to one step of a layer. What was removed too
much is given back where it disturbs the logits most. This step is ours; the published program ends
at the rates of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def kept_counts(
    distortion: Tensor,
    kept: Sequence[Sequence[int]],
    choices: Sequence[int],
    live: Sequence[int],
    target: int,
) -> list[int]:
    """Weights that each layer keeps, `target` in all where the layers have that many left.

    distortion: (L, P). kept: (L, P), what each rate leaves. choices: (L,) index of the rate chosen;
    together they keep at most `target`. live: (L,) weights not pruned before.
    A layer gets back at most the weights up to the next lower rate, the layer first whose
    distortion falls most for each of them (the curve is taken as straight in between). If that is
    not enough, layers go on to lower rates in the same order.
    """
    counts = [min(row[k], alive) for row, k, alive in zip(kept, choices, live, strict=True)]
    rates = list(choices)
    while (missing := target - sum(counts)) > 0:
        steps = []
        for layer, k in enumerate(rates):
            if k and counts[layer] < live[layer]:
                more = min(kept[layer][k - 1], live[layer]) - counts[layer]
                fall = float(distortion[layer, k] - distortion[layer, k - 1])
                steps.append((-fall / max(more, 1), layer, more))
        if not steps:
            break
        _, layer, more = min(steps)
        counts[layer] += min(more, missing)
        rates[layer] -= 1
    return counts
