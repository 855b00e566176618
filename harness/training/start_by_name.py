"""`--start WORD`: a registry entry, or the weights that a run here has left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from harness.errors import CheckpointUnavailable, ProtocolError, RegistryError
from harness.models import is_own_code, parse_model_name
from harness.registry import Registry
from harness.results import Result, load_entry, stored_ids
from harness.training.run_folder import finished_run


@dataclass(frozen=True, slots=True)
class NamedStart:
    """Where a run begins and on what. entry: of the registry; file: of a run of one's own."""

    model: str
    dataset: str
    evaluation: str | None = None
    entry: str | None = None
    file: Path | None = None


def named_start(
    word: str | None, registry: Registry, model: str | None, dataset: str | None
) -> NamedStart:
    """The start called `word`, with the network and data set that the user typed, or else its own.

    None = drawn afresh, or a file. Raises ProtocolError where network or data set stay unsaid or
    are another run's, RegistryError for an unknown word, CheckpointUnavailable where the run's
    weights are gone.
    """
    if word is None:
        return NamedStart(_said(model, "--model"), _said(dataset, "--dataset"))
    id = registry.aliases.get(word, word)
    found = [each for each in load_entry(id, registry.aliases) if each.mode in _TRAINED]
    if id not in registry.entries and not found:
        _refuse(word, registry)
    if id in registry.entries:
        entry = registry.get(word)
        start = NamedStart(entry.model, entry.dataset, entry.evaluation, entry=entry.id)
    else:
        run = found[-1]
        start = NamedStart(run.model, run.dataset, run.protocol.name, file=_weights(run))
    moved = dataset not in (None, start.dataset)
    return replace(
        start,
        model=_typed(model, start.model),
        dataset=dataset or start.dataset,
        evaluation=None if moved else start.evaluation,
    )


_TRAINED = ("trained", "pruned")


def _refuse(word: str, registry: Registry) -> NoReturn:
    """Raise for a word that is neither an entry nor a run, with what it may have meant."""
    if Path(word).is_file():
        raise RegistryError(f"{word!r} is a file. Start from it: --weights {word}")
    near = get_close_matches(word, [*stored_ids(), *registry.entries], n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RegistryError(
        f"no entry or run is called {word!r}; {hint}Entries: bench list; runs: bench runs; "
        "a file: --weights FILE"
    )


def _typed(model: str | None, known: str) -> str:
    """What the user typed; the arguments of a run of the same code stay as they were."""
    if model is None:
        return known
    asked = parse_model_name(model)
    bare = is_own_code(asked.base) and not asked.arguments
    return known if bare and asked.base == parse_model_name(known).base else model


def _said(name: str | None, option: str) -> str:
    if name is None:
        msg = f"{option} is missing. Give {option} NAME, or --start with an entry or a run"
        raise ProtocolError(f"{msg}, whose own is meant then")
    return name


def _weights(run: Result) -> Path:
    folder = finished_run(run.runs[0])
    if folder is None:
        msg = f"{run.entry}: the folder of this run is not here, so there is nothing to start from"
        raise CheckpointUnavailable(f"{msg}. Repeat its training command to make it again")
    return folder.weights
