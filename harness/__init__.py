"""Public API: published pruned networks, their numbers, and networks of one's own beside them.

    load, reproduce           a published network; its published numbers against measured ones
    train, prune, evaluate    a network of one's own, by the protocols of the published rows
    stored_results            every result on record, as a pandas DataFrame
    leaderboard               the rows of `bench table`, as a pandas DataFrame
    profile                   what a network costs: harness.profile.measure_cost(network, shape)
    sparse                    the same outputs without the zeros: harness.sparse.compile

docs/python.md shows them all in one go. `harness.results` and `harness.profile` are rooms of the
house, so the table of results is called `stored_results`, and what profiles is in its room.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd
    from torch import nn

    from harness.registry import Entry, Overrides, Recipe, Registry
    from harness.results import Result

    Filter = str | Sequence[str]

__all__ = [
    "evaluate",
    "leaderboard",
    "load",
    "profile",
    "prune",
    "reproduce",
    "sparse",
    "stored_results",
    "train",
]


def __getattr__(name: str) -> ModuleType:
    """The rooms of the public API, imported at their first use, since they need torch."""
    if name in ("profile", "sparse"):
        return import_module(f"harness.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(
    entry_id: str,
    *,
    from_file: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
    registries: Iterable[str | Path] = (),
) -> nn.Module:
    """The network of a registry entry with its published weights, in eval mode.

    from_file: use this file instead of the published link. data_root: where `data:` sources lie.
    registries: registry files of one's own, next to the one that comes with the code.
    Raises RegistryError for an unknown id, CheckpointError if the weights cannot be had or used.
    """
    from harness import registry
    from harness.checkpoints import load_model
    from harness.system import Options

    entry = registry.load(extra=map(Path, registries)).get(entry_id)
    options = Options(device=device, data_root=_path(data_root), from_file=_path(from_file))
    return load_model(entry, options)[0]


def reproduce(
    entry_id: str,
    *,
    from_file: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
    limit: int | None = None,
    track: bool = False,
    registries: Iterable[str | Path] = (),
) -> Result:
    """Evaluate an entry's published checkpoint, judge it, save the result and return it.

    limit: evaluate only that many images (a smoke run). track: also mirror into MLflow; a problem
    there is a warning, the result is saved. Other arguments: see `load`.
    Raises RegistryError, CheckpointError, DataError or MetricError.
    """
    import warnings
    from functools import partial

    from harness import registry
    from harness.evaluation import reproduce_entry
    from harness.reports import publisher
    from harness.system import Options

    entries = registry.load(extra=map(Path, registries))
    options = Options(
        device=device, data_root=_path(data_root), from_file=_path(from_file), limit=limit
    )

    listener = publisher(partial(warnings.warn, stacklevel=3), mirrored=track)
    return reproduce_entry(entries.get(entry_id), entries, options, on_result=listener)


def evaluate(
    network: nn.Module,
    dataset: str,
    *,
    name: str | None = None,
    evaluation: str | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
    limit: int | None = None,
) -> Result:
    """Evaluate a network in memory by a data set's protocol, save the result and return it.

    network: takes float images (N, C, H, W) and gives logits (N, classes); it is left in eval mode
    on `device`. name: under which the result is stored; default: local-CLASS-DATASET. evaluation:
    the protocol; default: the data set's own. Other arguments: see `reproduce`.
    Raises ProtocolError, DataError or MetricError.
    """
    from harness import registry
    from harness.evaluation import evaluate_model, facts_of_memory
    from harness.registry import local_entry
    from harness.system import Options

    known = registry.load()
    model = type(network).__name__
    entry = local_entry(
        known,
        method="dense",
        model=model,
        dataset=dataset,
        evaluation=evaluation,
        name=name or f"local-{model}-{dataset}",
    )
    options = Options(device=device, data_root=_path(data_root), limit=limit)
    return evaluate_model(entry, known, network.to(device), facts_of_memory(network), options)


def train(
    model: str | Callable[..., nn.Module],
    dataset: str,
    method: str = "dense",
    *,
    seeds: int = 1,
    recipe: str | None = None,
    changes: Mapping[str, object] | None = None,
    name: str | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
) -> Result:
    """Train every seed by a recipe with a pruning method; save and return the result.

    model: a name, or a class or function of one's own: each seed builds a network of its own, so
    a finished one cannot be given. recipe: the protocol; default: the data set's own. changes:
    of the recipe, by dotted key, such as {"length": "20ep", "settings.sparsity": 0.9}. Finished
    seeds are reused, interrupted ones go on. Raises ProtocolError or DataError.
    """
    from harness import registry
    from harness.registry import local_training

    known = registry.load()
    planned = local_training(
        known,
        method=method,
        model=_model_name(model),
        dataset=dataset,
        recipe_name=recipe,
        name=name,
        overrides=changes or {},
    )
    return _trained(planned, known, seeds, data_root, device, None)


def prune(
    network: nn.Module,
    model: str | Callable[..., nn.Module],
    dataset: str,
    method: str = "magnitude",
    *,
    target: float,
    rounds: int = 1,
    finetune: str = "0ep",
    seeds: int = 1,
    changes: Mapping[str, object] | None = None,
    name: str | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
) -> Result:
    """Prune a network in memory to the sparsity `target`; save and return the result.

    network: where to start; it is not changed. model: what builds one like it. rounds: each removes
    the same share of what is left, then trains for `finetune` ("2ep", "500it"). Other arguments:
    see `train`. Raises ProtocolError, KeyMismatch or DataError.
    """
    from tempfile import TemporaryDirectory

    from safetensors.torch import save_model

    from harness import registry
    from harness.registry import local_pruning

    known = registry.load()
    planned = local_pruning(
        known,
        method=method,
        model=_model_name(model),
        dataset=dataset,
        start=None,
        target=target,
        rounds=rounds,
        finetune=finetune,
        name=name,
        overrides=changes or {},
    )
    with TemporaryDirectory() as folder:
        file = Path(folder) / "network.safetensors"
        save_model(network, str(file))
        return _trained(planned, known, seeds, data_root, device, file)


def stored_results() -> pd.DataFrame:
    """Every stored result that saw images, oldest first: one row each, numbers unrounded."""
    from harness.reports import frame, stored_rows

    return frame(stored_rows())


def leaderboard(
    *,
    dataset: Filter = (),
    model: Filter = (),
    method: Filter = (),
    paper: Filter = (),
    verdict: Filter = (),
    published: bool = False,
    sort: str = "entry",
    limit: int | None = None,
) -> pd.DataFrame:
    """The rows of `bench table`: the newest result per entry and way of measuring.

    Filters take one value or several. published: also the rows that nobody has measured. sort:
    entry, dataset, top1, delta, sparsity, macs or date.
    """
    from harness import registry
    from harness.reports import Wanted, frame, stored_rows, with_unmeasured
    from harness.reports import leaderboard as chosen_rows

    filters = [(v,) if isinstance(v, str) else tuple(v) for v in (dataset, model, method)]
    filters += [(v,) if isinstance(v, str) else tuple(v) for v in (paper, verdict)]
    wanted = Wanted(*filters)
    known = registry.load()
    rows = with_unmeasured(stored_rows(), known) if published else stored_rows()
    return frame(chosen_rows(rows, known, wanted, sort=sort, limit=limit))


def _model_name(model: str | Callable[..., nn.Module]) -> str:
    """The name by which the harness builds it; code of one's own is imported where it is named."""
    from harness.models import import_typed, is_own_code

    typed = model if isinstance(model, str) else f"{model.__module__}:{model.__qualname__}"
    return import_typed(typed) if is_own_code(typed) else typed


def _trained(
    planned: tuple[Entry, Recipe, Overrides],
    known: Registry,
    seeds: int,
    data_root: str | Path | None,
    device: str,
    start: Path | None,
) -> Result:
    from harness.models import fitted_entry
    from harness.system import Options
    from harness.training import Training, reproduce_by_training

    entry, recipe, changed = planned
    entry = fitted_entry(entry, known.evaluations[entry.evaluation])
    options = Options(device=device, data_root=_path(data_root), from_file=start)
    training = Training(seeds=tuple(range(seeds)), overrides=changed)
    return reproduce_by_training(entry, known, recipe, options, training)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given).expanduser()
