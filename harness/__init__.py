"""Public API: published pruned networks, their numbers, and networks of one's own beside them.

    load, reproduce           a published network; its published numbers against measured ones
    train, prune, evaluate    a network of one's own, by the protocols of the published rows
    stored_results            every result on record, as a pandas DataFrame
    leaderboard               the rows of `bench table`, as a pandas DataFrame
    Images                    images of one's own behind loaders, where a data set's name is taken
    cost                      what a network costs, in all and by layer: `bench profile`
    profile                   the room behind it: harness.profile.measure_cost(network, shape)
    sparse                    the same outputs without the zeros: harness.sparse.compile

docs/python.md shows them all in one go. `harness.results` and `harness.profile` are rooms of the
house, so the table of results is called `stored_results`, and what a network costs `cost`.
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

    from harness.data import Images
    from harness.registry import Entry, Overrides, Recipe, Registry
    from harness.results import Cost, Result

    Filter = str | Sequence[str]

__all__ = [
    "Images",
    "cost",
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


def __getattr__(name: str) -> ModuleType | type[Images]:
    """What needs torch of the public API, imported at its first use."""
    if name in ("profile", "sparse"):
        return import_module(f"harness.{name}")
    if name == "Images":
        from harness.data import Images

        return Images
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
    dataset: str | Images,
    *,
    name: str | None = None,
    evaluation: str | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
    limit: int | None = None,
) -> Result:
    """Evaluate a network in memory by a data set's protocol, save the result and return it.

    network: takes float images (N, C, H, W) and gives logits (N, classes); it is left in eval mode
    on `device`. dataset: a name, `folder:PATH`, or `Images` around loaders of one's own. name:
    under which the result is stored; default: local-CLASS-DATASET. evaluation: the protocol;
    default: the data set's own. Other arguments: see `reproduce`.
    Raises ProtocolError, DataError or MetricError.
    """
    from harness import registry
    from harness.evaluation import evaluate_model, facts_of_memory
    from harness.models import hold
    from harness.registry import derived_name, local_entry
    from harness.system import Options

    dataset = _data_set_name(dataset)
    known = registry.load()
    entry = local_entry(
        known,
        method="dense",
        model=hold(network),
        dataset=dataset,
        evaluation=evaluation,
        name=name or derived_name(type(network).__name__, dataset),
    )
    options = Options(device=device, data_root=_path(data_root), limit=limit)
    return evaluate_model(entry, known, network.to(device), facts_of_memory(network), options)


def train(
    model: str | Callable[..., nn.Module] | nn.Module,
    dataset: str | Images,
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

    model: a name, or a class or function of one's own: each seed builds a network of its own. A
    network in memory is where every seed starts instead; it is not changed. dataset: a name,
    `folder:PATH`, or `Images` with train and test. recipe: the protocol; default: the data set's
    own. changes: of the recipe, by dotted key, such as {"length": "20ep",
    "settings.sparsity": 0.9}. Finished seeds are reused, interrupted ones go on.
    Raises ProtocolError, RegistryError or DataError.
    """
    from harness import registry
    from harness.registry import local_training

    dataset = _data_set_name(dataset)
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
    return _trained(planned, known, seeds, data_root, device, model)


def prune(
    network: nn.Module,
    dataset: str | Images,
    method: str = "magnitude",
    *,
    target: float,
    rounds: int = 1,
    finetune: str = "0ep",
    seeds: int = 1,
    recipe: str | None = None,
    changes: Mapping[str, object] | None = None,
    name: str | None = None,
    data_root: str | Path | None = None,
    device: str = "cpu",
) -> Result:
    """Prune a network in memory to the sparsity `target` (0..1); save and return the result.

    network: where to start; it is not changed. rounds: each removes the same share of what is
    left, then trains for `finetune` ("2ep", "500it"). recipe: of that training; default: the data
    set's own. Other arguments: see `train`. Raises ProtocolError, RegistryError or DataError.
    """
    from harness import registry
    from harness.registry import local_pruning

    dataset = _data_set_name(dataset)
    known = registry.load()
    planned = local_pruning(
        known,
        method=method,
        model=_model_name(network),
        dataset=dataset,
        start=None,
        target=target,
        rounds=rounds,
        finetune=finetune,
        recipe_name=recipe,
        name=name,
        overrides=changes or {},
    )
    return _trained(planned, known, seeds, data_root, device, network)


def cost(network: nn.Module, dataset: str | Images, *, evaluation: str | None = None) -> Cost:
    """Parameters, zeros and MACs of a network in memory, in all and by layer: `bench profile`.

    One MAC is one multiply-accumulate of a conv or linear weight for one image of the data set's
    protocol (`evaluation`; default: its own); effective MACs leave out those of zeros. Nothing is
    saved. Raises ProtocolError if the network cannot take the images.
    """
    from harness import registry
    from harness.models import hold, require_size
    from harness.profile import measure_cost
    from harness.registry import input_shape, local_entry

    dataset = _data_set_name(dataset)
    known = registry.load()
    model = hold(network)
    entry = local_entry(
        known, method="dense", model=model, dataset=dataset, evaluation=evaluation, name="own"
    )
    shape = input_shape(known.evaluations[entry.evaluation])
    require_size(network, model, shape)
    return measure_cost(network, shape, known.convention_of(entry))


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
    as in `bench table --sort`.
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


def _data_set_name(dataset: object) -> str:
    """The name by which the harness finds it; a folder, a package's set and loaders are read."""
    from harness.data import Images, data_set_name
    from harness.errors import DataError

    if isinstance(dataset, Images):
        return dataset.known_as()
    if not isinstance(dataset, str):
        msg = f"a {type(dataset).__name__} states neither a name nor how many classes there are"
        raise DataError(f"{msg}. Say so: harness.Images('my-images', classes=10, test=loader)")
    return data_set_name(dataset)


def _model_name(model: str | Callable[..., nn.Module] | nn.Module) -> str:
    """The name by which the harness builds it; code of one's own is imported where it is named."""
    from harness.models import hold, import_typed, is_own_code

    if not isinstance(model, str):
        return hold(model)
    return import_typed(model) if is_own_code(model) else model


def _trained(
    planned: tuple[Entry, Recipe, Overrides],
    known: Registry,
    seeds: int,
    data_root: str | Path | None,
    device: str,
    start: str | Callable[..., nn.Module] | nn.Module,
) -> Result:
    """Train as planned, from the weights of `start` if that is a network in memory."""
    from torch import nn

    from harness.errors import ProtocolError
    from harness.models import fitted_entry
    from harness.system import Options
    from harness.training import Training, reproduce_by_training

    if seeds < 1:
        raise ProtocolError(f"seeds is {seeds}; one seed or more is trained, such as seeds=3")
    entry, recipe, changed = planned
    entry = fitted_entry(entry, known.evaluations[entry.evaluation])
    training = Training(seeds=tuple(range(seeds)), overrides=changed)
    file = _saved(start) if isinstance(start, nn.Module) else None
    options = Options(device=device, data_root=_path(data_root), from_file=file)
    return reproduce_by_training(entry, known, recipe, options, training)


def _saved(network: nn.Module) -> Path:
    """The weights of `network` as a file that stays: the run.yaml of what starts there names it.

    Tied weights, which share memory, become a copy each. The same weights are the same file.
    """
    import hashlib

    from safetensors.torch import save

    from harness import paths
    from harness.system import replace_file

    state = network.state_dict()
    content = save({k: t.detach().to("cpu", copy=True).contiguous() for k, t in state.items()})
    name = f"{type(network).__name__}-{hashlib.sha256(content).hexdigest()[:12]}.safetensors"
    target = paths.checkpoint_store() / "in-memory" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, lambda file: file.write(content))
    return target


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given).expanduser()
