"""One answer to "which network do you mean": an entry, a run, a file, or a name with a network."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from harness.checkpoints import build_model, is_shrunk, load_into, load_shrunk, read_weights
from harness.errors import ProtocolError, RegistryError
from harness.export.weights import Weights, last_trained, published, trained
from harness.models import (
    fitted_entry,
    is_own_code,
    is_untyped,
    parse_model_name,
    source_sha256,
)
from harness.profile import DRAWN_WITH_SEED, WeightsFile, fresh_network, input_shape_of
from harness.registry import Entry, Registry, derived_name, local_entry
from harness.results import CheckpointFacts, load_entry, stored_ids
from harness.system import Options, sha256_file

if TYPE_CHECKING:
    from torch import nn

FORMS_OF_NAME = (
    "the ID of an entry, the name of a run, or --model NAME --dataset NAME --weights FILE"
)


@dataclass(frozen=True, slots=True)
class NetworkName:
    """What the user typed. word: an entry's id or a run's name; else model, dataset and a file.

    evaluation: a protocol; None = the entry's, or the standard one of the data set.
    seed, epoch: of a training here, which they ask for where a published file exists, too.
    """

    word: str | None = None
    model: str | None = None
    dataset: str | None = None
    weights: Path | None = None
    seed: int | None = None
    epoch: str | None = None
    evaluation: str | None = None


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A network and how it is measured. entry: the registry's, or one made for what was named."""

    entry: Entry
    weights: Weights


def find_network(
    name: NetworkName, registry: Registry, options: Options, *, fresh: bool = False
) -> FoundNetwork:
    """The network that `name` means, with its weights, in eval mode.

    options.from_file: a downloaded copy of an entry's own file. fresh: a model without weights of
    its own may be newly drawn. Raises ProtocolError where the name says too little or too much,
    RegistryError for an unknown one, CheckpointError where the weights cannot be had.
    """
    if name.word is None:
        if name.model is None:
            raise ProtocolError(f"say which network: {FORMS_OF_NAME}")
        return _own_network(name, name.model, registry, options, fresh)
    if name.weights is not None:
        raise ProtocolError("--weights goes with --model; a downloaded file of an ID: --from FILE")
    if name.dataset is not None:
        raise ProtocolError(
            f"{name.word!r} says by itself which data set it is for; --dataset goes with --model"
        )
    id = registry.aliases.get(name.word, name.word)
    entry = registry.entries.get(id)
    had = entry is not None and (entry.checkpoint is not None or options.from_file is not None)
    if entry is not None and had and name.seed is None and name.epoch is None:
        _require_same(id, entry.model, name.model)
        return FoundNetwork(entry, published(entry, options))
    return _trained_here(id, entry, name, registry, options)


def _trained_here(
    id: str, entry: Entry | None, name: NetworkName, registry: Registry, options: Options
) -> FoundNetwork:
    if entry is None and not load_entry(id, registry.aliases):
        _refuse_word(id, registry)
    result = last_trained(id, registry.aliases)
    _require_same(id, result.model, name.model)
    if source_sha256(result.model) != result.model_sha256:
        options.progress.note(f"{result.model} is not the file that {id} was trained with")
    made = trained(result, name.seed or 0, name.epoch or "last")
    entry = entry or local_entry(
        registry,
        method=result.method,
        model=result.model,
        dataset=result.dataset,
        evaluation=result.protocol.name,
        settings=result.settings,
        granularity=result.granularity,
        name=id,
    )
    return FoundNetwork(entry, made)


def _require_same(id: str, model: str, typed: str | None) -> None:
    """Code of one's own is typed beside a run of it; any other --model would contradict the run."""
    if typed is None:
        if is_untyped(model):
            file = parse_model_name(model).base
            place = f"path/to/{file}" if ".py:" in file else file
            raise ProtocolError(
                f"{id} is a run of {file}, code of one's own, which runs only where its name is "
                f"typed: add --model {place}"
            )
        return
    asked, known = parse_model_name(typed), parse_model_name(model)
    if asked.base != known.base or (asked.arguments and str(asked) != model):
        raise ProtocolError(
            f"{id} is a network {model}, not {typed}; leave --model out, or name a file of its "
            "weights instead of the run: --weights FILE"
        )


def _refuse_word(word: str, registry: Registry) -> NoReturn:
    """Raise for a word that is neither an entry nor a run, with what it may have meant."""
    if Path(word).is_file():
        raise ProtocolError(
            f"{word!r} is a file; say so: --model NAME --dataset NAME --weights {word}"
        )
    if is_own_code(word):
        raise ProtocolError(
            f"{word!r} is code; say so: --model {word} --dataset NAME --weights FILE"
        )
    runs = [id for id in stored_ids() if id not in registry.entries]
    near = get_close_matches(word, [*runs, *registry.entries], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise RegistryError(f"no entry or run is called {word!r}{hint} See: bench list, bench table")


def find_weights(name: NetworkName, registry: Registry, options: Options) -> WeightsFile:
    """As `find_network`, for whom tensors are enough: the word may be a file of any network."""
    if name.word is not None and Path(name.word).is_file():
        tensors, about = read_weights(Path(name.word), options.reading, progress=options.progress)
        return WeightsFile(tensors, about.size_bytes)
    found = find_network(name, registry, options).weights
    return WeightsFile(found.tensors, 0 if found.facts is None else found.facts.size_bytes)


def _own_network(
    name: NetworkName, model: str, registry: Registry, options: Options, fresh: bool
) -> FoundNetwork:
    if name.dataset is None:
        raise ProtocolError("--model needs its data set, for classes and picture size: --dataset")
    if name.weights is None and not fresh:
        raise ProtocolError(f"{model} has no weights yet; give them: --weights FILE")
    stem = name.weights.stem if name.weights else "fresh"
    entry = local_entry(
        registry,
        method="dense",
        model=model,
        dataset=name.dataset,
        evaluation=name.evaluation,
        name=derived_name(model, name.dataset, stem),
    )
    entry = fitted_entry(entry, registry.evaluations[entry.evaluation])
    network, where, facts = _filled(entry, name.weights, options)
    made = Weights(
        name=entry.id,
        where=where,
        method=entry.method,
        model=entry.model,
        dataset=entry.dataset,
        dynamic=False,
        tensors=network.state_dict(),
        network=network.eval(),
        stated={},
        maker=None,
        facts=facts,
    )
    return FoundNetwork(entry, made)


def _filled(
    entry: Entry, file: Path | None, options: Options
) -> tuple[nn.Module, str, CheckpointFacts | None]:
    """The entry's network with the weights of `file`, or drawn; their origin, and the file's facts.

    A file of `bench shrink` brings its own, smaller network.
    """
    if file is None:
        network = fresh_network(entry.model, entry.dataset, input_shape_of("", entry.dataset))
        return network, f"random, seed {DRAWN_WITH_SEED}", None
    if is_shrunk(file):
        facts = CheckpointFacts(
            sha256=sha256_file(file),
            source=f"file:{file.name}",
            format="safetensors",
            size_bytes=file.stat().st_size,
            license="local",
        )
        return load_shrunk(file), f"file {file.name}, shrunk", facts
    network = build_model(entry)
    tensors, read = read_weights(file, options.reading, network, options.progress)
    load_into(network, tensors, file.name)
    return network, f"file {file.name}, sha256 {read.sha256[:12]}", read
