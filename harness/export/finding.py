"""One answer to "which network do you mean": an entry, a run, a file, or a name with a network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.checkpoints import build_model, is_shrunk, load_into, load_shrunk, read_weights
from harness.errors import ProtocolError
from harness.export.weights import Weights, last_trained, published, trained
from harness.models import fitted_entry
from harness.profile import WeightsFile
from harness.registry import Entry, Registry, local_entry
from harness.results import load_entry
from harness.system import Options


@dataclass(frozen=True, slots=True)
class NetworkName:
    """What the user typed. word: an entry's id or a run's name; else model, dataset and a file.

    seed, epoch: of a training here, which they ask for where a published file exists, too.
    """

    word: str | None = None
    model: str | None = None
    dataset: str | None = None
    weights: Path | None = None
    seed: int | None = None
    epoch: str | None = None


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
    if (name.word is None) == (name.model is None):
        raise ProtocolError(
            "say which network: the ID of an entry, the name of a run, or "
            "--model NAME --dataset NAME --weights FILE"
        )
    if name.model is not None:
        return _own_network(name, name.model, registry, options, fresh)
    if name.weights is not None:
        raise ProtocolError("--weights goes with --model; a downloaded file of an ID: --from FILE")
    assert name.word is not None, "checked above"
    id = registry.aliases.get(name.word, name.word)
    entry = registry.entries.get(id)
    had = entry is not None and (entry.checkpoint is not None or options.from_file is not None)
    if entry is not None and had and name.seed is None and name.epoch is None:
        return FoundNetwork(entry, published(entry, options))
    if entry is None and not load_entry(id, registry.aliases):
        registry.get(id)  # says what is near
    result = last_trained(id, registry.aliases)
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


def find_weights(name: NetworkName, registry: Registry, options: Options) -> WeightsFile:
    """As `find_network`, for whom tensors are enough: the word may be a file of any network."""
    if name.word is not None and Path(name.word).is_file():
        tensors, about = read_weights(Path(name.word), options.reading, progress=options.progress)
        return WeightsFile(tensors, about.size_bytes)
    found = find_network(name, registry, options).weights
    return WeightsFile(found.tensors, found.file_bytes)


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
        name=f"local-{model}-{name.dataset}-{stem}",
    )
    entry = fitted_entry(entry, registry.evaluations[entry.evaluation])
    where = "fresh weights"
    if name.weights is not None and is_shrunk(name.weights):
        network, where = load_shrunk(name.weights), f"file {name.weights.name}, shrunk"
    else:
        network = build_model(entry)
    if name.weights is not None and not is_shrunk(name.weights):
        tensors, about = read_weights(name.weights, options.reading, network, options.progress)
        load_into(network, tensors, name.weights.name)
        where = f"file {name.weights.name}, sha256 {about.sha256[:12]}"
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
        file_bytes=name.weights.stat().st_size if name.weights else 0,
    )
    return FoundNetwork(entry, made)
