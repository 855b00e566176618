"""Entries for a user's own runs: the same type as a registry entry, nothing published."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from unicodedata import normalize

import methods
from harness.errors import ProtocolError
from harness.registry import LOCAL, Evaluation, Registry
from harness.registry.data_set_facts import data_set_names, is_data_set
from harness.registry.entries import ID, Entry
from harness.registry.overrides import SETTING, Override, with_overrides
from harness.registry.reading import Standard
from harness.registry.recipes import Recipe
from harness.system import sha256_json

LONGEST_NAME = 150  # letters: it names a folder, beside which result files lie
LONGEST_PART = 50  # of a name that is made of several


def local_entry(
    registry: Registry,
    *,
    method: str,
    model: str,
    dataset: str,
    name: str,
    evaluation: str | None = None,
    settings: Mapping[str, object] | None = None,
    baseline: str | None = None,
    granularity: str = "unstructured",
) -> Entry:
    """An entry that is in no registry, for weights or training runs of one's own.

    evaluation: a protocol's name; None = the data set's default one. name: see `own_id`.
    Raises ProtocolError for unknown names.
    """
    chosen = evaluation_on(registry, dataset, evaluation)
    return Entry(
        id=own_id(registry, name),
        paper=LOCAL,
        method=method,
        model=model,
        dataset=dataset,
        evaluation=chosen.name,
        settings=dict(settings or {}),
        baseline=baseline,
        granularity=granularity,
    )


def own_id(registry: Registry, name: str) -> str:
    """The id under which results called `name` are stored: lower case, the rest as hyphens.

    Raises ProtocolError for a name that makes no id, and for one that is an entry's: results of
    one's own never stand in the place of published rows.
    """
    made = re.sub(r"[^a-z0-9.]+", "-", name.lower().replace(".py:", "-")).strip("-.")
    made = re.sub(r"-*\.-+|-+\.", "-", made)
    if not name.isascii() or ".." in name or not ID.match(made) or len(made) > LONGEST_NAME:
        shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..."
        raise ProtocolError(
            f"{shown!r} cannot be the name of a result: only unaccented letters, digits, '-' and "
            f"single dots, at most {LONGEST_NAME} of them. Give another one: --name my-network-90"
        )
    taken = registry.aliases.get(made, made)
    if taken in registry.entries:
        raise ProtocolError(
            f"{made!r} is an entry of the registry, whose published row a result of yours would "
            f"hide. Give another name: --name my-{made}"
        )
    return made


def derived_name(*parts: str) -> str:
    """local-PART-PART...: a name for a result that the user did not name, made of other names.

    Accents go. Where more is lost than accents, or a part is very long, a short hash of it stays
    in its place, so that two files do not become one.
    """
    return "-".join(["local", *map(_as_part, parts)])


def _as_part(text: str) -> str:
    letters = normalize("NFKD", text.replace("ß", "ss"))
    kept = re.sub(r"\.{2,}", ".", letters.encode("ascii", "ignore").decode())
    lost = any(letter.isalnum() and not letter.isascii() for letter in letters)
    if not lost and len(kept) <= LONGEST_PART:
        return kept
    short = sha256_json(text)[:8]
    return f"{kept[:LONGEST_PART]}-{short}".lstrip("-")


def evaluation_on(registry: Registry, dataset: str, name: str | None = None) -> Evaluation:
    """The evaluation called `name` on a data set, or its standard one. Raises ProtocolError."""
    _refuse_unknown(dataset)
    chosen = registry.evaluations.get(name) if name else default(registry, dataset)
    if chosen is None or chosen.dataset != dataset:
        known = [e.name for e in registry.evaluations.values() if e.dataset == dataset]
        raise ProtocolError(f"no evaluation {name!r} on {dataset}; known: {', '.join(known)}")
    return chosen


def default(registry: Registry, dataset: str) -> Evaluation:
    """The evaluation named in the registry's defaults for a data set. ProtocolError if none is."""
    if dataset in registry.defaults:
        return registry.evaluations[registry.defaults[dataset].evaluation]
    known = [name for name, e in registry.evaluations.items() if e.dataset == dataset]
    msg = f"no standard evaluation for {dataset}, whose pictures papers prepare in several ways"
    raise ProtocolError(f"{msg}; name one: --evaluation {' | '.join(known)}")


Planned = tuple[Entry, Recipe, dict[str, Override]]


def local_training(
    registry: Registry,
    *,
    method: str,
    model: str,
    dataset: str,
    recipe_name: str | None = None,
    evaluation: str | None = None,
    start: str | None = None,
    name: str | None = None,
    overrides: Mapping[str, object],
) -> Planned:
    """Entry and recipe of a user's training run: the data set's standard protocol, changed."""
    recipe = _recipe(registry, recipe_name or standard_protocol(registry, dataset).recipe)
    wanted = {**overrides, **({"start": start} if start else {})}
    changed, record = with_overrides(recipe, wanted)
    if start is not None:
        registry.get(start)
        evaluation = evaluation or registry.get(start).evaluation
    entry = local_entry(
        registry,
        method=method,
        model=model,
        dataset=dataset,
        evaluation=evaluation,
        name=name or _name(method, model, dataset, *_settings(overrides)),
        baseline=start,
        granularity=_granularity(method),
    )
    return entry, changed, record


def local_pruning(
    registry: Registry,
    *,
    method: str,
    model: str,
    dataset: str,
    start: str | None,
    target: float,
    dense: str | None = None,
    rounds: int,
    finetune: str,
    recalibrate: int | None = None,
    recipe_name: str | None = None,
    evaluation: str | None = None,
    name: str | None = None,
    overrides: Mapping[str, object],
) -> Planned:
    """Entry and recipe of a user's pruning run.

    dense: length of a training from fresh weights that comes first, instead of `start` or a file.
    Every round removes the same share of what is left: 1 - (1 - target)^(1/rounds). recalibrate:
    training images that give batch norms new statistics after each.
    """
    standard = standard_protocol(registry, dataset).finetune
    plan: dict[str, object] = {
        "length": dense or "0ep",
        "prune.count": rounds,
        "prune.amount": 1.0 - (1.0 - target) ** (1.0 / rounds),
        "prune.finetune": finetune,
    }
    level = (f"{target:g}", *((f"{rounds}r",) if rounds > 1 else ()))
    if recalibrate is not None:
        plan["prune.recalibrate"] = recalibrate
        level += (f"bn{recalibrate}",)
    return local_training(
        registry,
        method=method,
        model=model,
        dataset=dataset,
        recipe_name=recipe_name or standard,
        evaluation=evaluation,
        start=start,
        name=name or _name(method, model, dataset, *_settings(overrides), *level),
        overrides={**plan, **overrides},
    )


def _recipe(registry: Registry, name: str) -> Recipe:
    if name not in registry.recipes:
        near = ", ".join(get_close_matches(name, registry.recipes, n=3))
        hint = f"nearest: {near}" if near else "names: bench list --recipes"
        raise ProtocolError(f"no recipe is called {name!r}; {hint}")
    return registry.recipes[name]


def _refuse_unknown(dataset: str) -> None:
    if not is_data_set(dataset):
        known = data_set_names()
        near = ", ".join(get_close_matches(dataset, known, n=2) or known)
        raise ProtocolError(f"no data set is called {dataset!r}; nearest: {near}")


def standard_protocol(registry: Registry, dataset: str) -> Standard:
    """What the registry's defaults say of a data set. Raises ProtocolError if it is unknown."""
    _refuse_unknown(dataset)
    if dataset not in registry.defaults:
        msg = f"no standard protocol for {dataset}; name one: --recipe NAME --evaluation NAME"
        raise ProtocolError(msg)
    return registry.defaults[dataset]


def _name(method: str, model: str, dataset: str, *own: str) -> str:
    """local-<method>-<model>-<dataset>, then what was set of the method's own values.

    Letters that no id has are left out: the user did not choose this name.
    """
    return "-".join(["local", method, model, dataset, *own]).encode("ascii", "ignore").decode()


def _settings(overrides: Mapping[str, object]) -> list[str]:
    return [str(value) for key, value in overrides.items() if key.startswith(SETTING)]


def _granularity(method: str) -> str:
    if method == "dense":
        return "dense"
    try:
        chosen = methods.get(method)
    except KeyError as error:
        raise ProtocolError(str(error.args[0])) from error
    if chosen.kind == "dynamic":
        return "dynamic"
    return "structured" if chosen.structured else "unstructured"
