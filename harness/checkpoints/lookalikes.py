"""Which known architecture the tensors of a file belong to, when it is not the one asked for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache

import torch

from harness.checkpoints.strict_load import COUNTER, Shaped
from harness.errors import BenchError
from harness.models import build, own_names

FEWEST = 5  # tensors of a network; fewer say nothing
NEAREST = 12  # of torchvision's networks, by their number of parameters
Signature = Mapping[str, tuple[int, ...]]


def lookalike(tensors: Mapping[str, Shaped]) -> str:
    """A sentence naming the architecture with these names and shapes; "" if none is known.

    A classifier with another number of classes does not matter. Networks are built without
    numbers, ours and those of torchvision that are about as large; their shapes are kept.
    """
    given = {n: tuple(t.shape) for n, t in tensors.items() if not n.endswith(COUNTER)}
    if len(given) < FEWEST:
        return ""
    for name in (*own_names(), *_about_as_large(sum(map(math.prod, given.values())))):
        classes = _classes(given, _signature(name))
        if classes is not None:
            other_head = f" with {classes} classes" if classes else ""
            return f"Names and shapes are those of model {name}{other_head}."
    return ""


def _classes(given: Signature, wanted: Signature) -> int | None:
    """0 if all shapes are equal, the other number of classes if only that differs, else None."""
    if given.keys() != wanted.keys():
        return None
    odd = [name for name in given if given[name] != wanted[name]]
    if not odd:
        return 0
    heads = {name.rpartition(".")[0] for name in odd}
    counts = {shape[0] for name in odd for shape in [given[name]] if shape}
    rest_equal = all(given[name][1:] == wanted[name][1:] for name in odd)
    return counts.pop() if (len(heads), len(counts), rest_equal) == (1, 1, True) else None


@lru_cache(maxsize=256)
def _signature(name: str) -> Signature:
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # about initial weights, of which there are none
        try:
            state = build(name).state_dict()
        except (NotImplementedError, RuntimeError, ValueError, TypeError, BenchError):
            return {}  # it computes its own widths with tensors (regnet), or is a broken package's
    return {n: tuple(value.shape) for n, value in state.items() if not n.endswith(COUNTER)}


def _about_as_large(size: int) -> Iterator[str]:
    """Torchvision's classifiers whose published number of parameters is nearest to `size`."""
    from torchvision import models

    sizes = {
        name: weights.meta["num_params"]
        for name in models.list_models(module=models)
        for weights in list(models.get_model_weights(name))[:1]
    }
    yield from sorted(sizes, key=lambda name: abs(math.log(sizes[name] / max(size, 1))))[:NEAREST]
