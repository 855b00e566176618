"""A library of pruning methods. Torch is imported only when a method is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from methods.base import Method

BUILT_IN = {
    "dense": "methods.dense:Dense",
    "random": "methods.random:Random",
    "magnitude": "methods.magnitude:Magnitude",
    "gmp": "methods.gmp:GMP",
    "acdc": "methods.acdc:ACDC",
    "str": "methods.str:STR",
    "snip": "methods.snip:Snip",
    "imp": "methods.imp:IMP",
    "han-magnitude": "methods.han_magnitude:HanMagnitude",
    "dnw": "methods.dnw:DNW",
    "rd": "methods.rate_distortion:RateDistortion",
    "ftwt": "methods.ftwt:FTWT",
    "ipruning": "methods.ipruning:IPruning",
    "edropout": "methods.ipruning:EDropout",
    "deep-compression": "methods.deep_compression:DeepCompression",
}
ENTRY_POINTS = "bench.methods"


def names() -> list[str]:
    """Names of all methods, built-in and installed by third parties, sorted."""
    return sorted({**BUILT_IN, **_third_party()})


def get(name: str) -> type[Method]:
    """The method class called `name`. Raises KeyError with the known names if there is none."""
    target = BUILT_IN.get(name) or _third_party().get(name)
    if target is None:
        raise KeyError(f"no method is called {name!r}; known: {', '.join(names())}")
    module, _, attribute = target.partition(":")
    method: type[Method] = getattr(import_module(module), attribute)
    return method


def _third_party() -> dict[str, str]:
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
