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
    if name not in BUILT_IN:
        return _installed(name)
    module, _, attribute = BUILT_IN[name].partition(":")
    method: type[Method] = getattr(import_module(module), attribute)
    return method


def _installed(name: str) -> type[Method]:
    """The method of another package, whose code may do anything when it is imported."""
    targets = _third_party().get(name)
    if targets is None:
        raise KeyError(f"no method is called {name!r}; known: {', '.join(names())}")
    if len(targets) > 1:
        msg = f"method {name!r} is offered by {' and '.join(targets)}"
        raise KeyError(f"{msg}; uninstall the package that is not meant")
    (target,) = targets
    module, _, attribute = target.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:
        said = " ".join(f"{error}".split())  # `str` is methods.str here, once that is imported
        reason = f"{type(error).__name__}: {said}"
        msg = f"method {name!r} is installed as {target}, which cannot be imported: {reason}"
        raise KeyError(f"{msg}. Reinstall or remove its package") from error
    from methods.base import Method

    if not isinstance(found, type) or not issubclass(found, Method):
        raise KeyError(f"method {name!r} is installed as {target}, which is no methods.base.Method")
    return found


def _third_party() -> dict[str, tuple[str, ...]]:
    """Name -> "package.module:Class", several where packages claim one name."""
    from importlib.metadata import entry_points

    found: dict[str, dict[str, None]] = {}
    for point in entry_points(group=ENTRY_POINTS):
        found.setdefault(point.name, {})[point.value] = None
    return {name: tuple(sorted(targets)) for name, targets in found.items()}
