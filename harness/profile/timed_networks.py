"""Networks to be timed next to each other: the dense one first, then what was made of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.modules import conv

from harness.checkpoints import (
    build_model,
    is_shrunk,
    load_into,
    load_shrunk,
    read_weights,
)
from harness.errors import ProtocolError
from harness.models import build, input_size
from harness.profile.zeros import sparsity
from harness.registry import data_set, input_shape
from harness.results import DENSE
from harness.system import Options
from methods.budgets import BudgetValues, read
from methods.inventory import prunable_weights

if TYPE_CHECKING:
    from harness.registry import Entry, Registry

DRAWN_WITH_SEED = 0
CALIBRATION_IMAGES = 8
PRUNED = "pruned"
# Networks are drawn from the global generator; whoever asked for them finds it as it was.
_own_random_numbers = torch.random.fork_rng(devices=[])


@dataclass(frozen=True, slots=True)
class TimedNetwork:
    """A network in eval mode, and in words where its weights come from."""

    name: str
    model: str
    weights: str
    network: nn.Module


@dataclass(frozen=True, slots=True)
class TimedNetworks:
    """What is timed in turns; `entry` names the record, input_shape is (C,H,W)."""

    entry: str
    input_shape: tuple[int, int, int]
    networks: tuple[TimedNetwork, ...]


@_own_random_numbers
def beside_dense(
    entry: Entry, registry: Registry, network: nn.Module, weights: str, device: str
) -> TimedNetworks:
    """`network`, an entry's, and the dense one drawn at random. weights: its origin in words.

    A network without zeros stands alone: it is the dense one.
    """
    shape = input_shape(registry.evaluations[entry.evaluation])
    nnz, total = sparsity(network).counts()
    if nnz == total and entry.granularity != "dynamic":
        return TimedNetworks(entry.id, shape, (TimedNetwork(DENSE, entry.model, weights, network),))
    torch.default_generator.manual_seed(DRAWN_WITH_SEED)
    dense = _settled(build_model(entry), shape).to(device)
    networks = (
        TimedNetwork(DENSE, entry.model, f"random, seed {DRAWN_WITH_SEED}", dense),
        TimedNetwork(PRUNED, entry.model, weights, network),
    )
    return TimedNetworks(entry.id, shape, networks)


@_own_random_numbers
def networks_of_model(
    model: str,
    weights: Iterable[Path] = (),
    budgets: Iterable[str] = (),
    dataset: str | None = None,
    name: str | None = None,
    options: Options | None = None,
) -> TimedNetworks:
    """A model with random weights; then with those of each file, and pruned to each budget.

    weights: plain checkpoints, or files of `bench shrink`. budgets: as methods.budgets.read takes
    them, such as FILE.csv:90.23; the zeros lie at random places. dataset: sets classes and image
    size; None = what the model was designed for. Raises RegistryError, CheckpointError or
    ProtocolError.
    """
    shape = input_shape_of(model, dataset)
    made = [
        TimedNetwork(
            DENSE, model, f"random, seed {DRAWN_WITH_SEED}", fresh_network(model, dataset, shape)
        )
    ]
    for file in weights:
        made.append(network_from_file(model, file, dataset, options or Options()))
    for source in budgets:
        made.append(_at_budget(model, source, dataset, shape))
    chosen = name or "-".join([model, *(s.name for s in made[1:])])
    return TimedNetworks(chosen, shape, tuple(made))


@_own_random_numbers
def fresh_network(model: str, dataset: str | None, shape: tuple[int, int, int]) -> nn.Module:
    torch.default_generator.manual_seed(DRAWN_WITH_SEED)
    return _settled(_build(model, dataset), shape)


def _build(model: str, dataset: str | None) -> nn.Module:
    if dataset is None:
        return build(model)
    about = data_set(dataset)
    return build(model, num_classes=about.classes, in_channels=about.channels)


def input_shape_of(model: str, dataset: str | None) -> tuple[int, int, int]:
    """(C,H,W) of the data set's pictures, or of those that the network was made for."""
    if dataset is not None:
        about = data_set(dataset)
        return about.channels, about.side, about.side
    side = input_size(model)
    first = next(iter(prunable_weights(build(model)).values())).owner
    if isinstance(first, nn.Linear):  # it reads all pixels at once
        return first.in_features // side**2, side, side
    assert isinstance(first, conv._ConvNd), "networks for pictures begin with one of the two"
    return first.in_channels, side, side


def network_from_file(
    model: str, file: Path, dataset: str | None, options: Options
) -> TimedNetwork:
    if is_shrunk(file):
        return TimedNetwork(file.stem, model, f"file {file.name}, shrunk", load_shrunk(file))
    network = _build(model, dataset)
    tensors, about = read_weights(file, options.reading, network, options.progress)
    load_into(network, tensors, file.name)
    return TimedNetwork(
        file.stem, model, f"file {file.name}, sha256 {about.sha256[:12]}", network.eval()
    )


def _at_budget(
    model: str, source: str, dataset: str | None, shape: tuple[int, int, int]
) -> TimedNetwork:
    try:
        budget = read(source)
    except (ValueError, OSError) as error:
        raise ProtocolError(f"--budget: {error}") from error
    torch.default_generator.manual_seed(DRAWN_WITH_SEED)
    network = _build(model, dataset)
    prune_at_random_(network, budget, torch.Generator().manual_seed(DRAWN_WITH_SEED))
    name = source.rpartition("/")[2].rpartition(":")[2].removesuffix(".safetensors")
    weights = (
        f"random, seed {DRAWN_WITH_SEED}; zeros at random places, layer densities of "
        f"{Path(source).name}"
    )
    return TimedNetwork(name, model, weights, _settled(network, shape))


@torch.no_grad()
def prune_at_random_(network: nn.Module, budget: BudgetValues, generator: torch.Generator) -> None:
    """Zero weights at random places until each layer named in `budget` keeps what it says.

    budget: layer -> share of zeros (float) or kept count (int). Layers without one stay dense.
    Raises ProtocolError for a layer that the network lacks.
    """
    weights = {name: weight.stored for name, weight in prunable_weights(network).items()}
    for layer, value in budget.items():
        weight = weights.get(layer)
        if weight is None:
            known = ", ".join(list(weights)[:3])
            msg = f"the budget names layer {layer!r}, which the network lacks (it has {known}, ...)"
            raise ProtocolError(msg)
        size = weight.numel()
        gone = size - value if isinstance(value, int) else round(value * size)
        weight.view(-1)[torch.randperm(size, generator=generator)[:gone]] = 0


def _settled(network: nn.Module, shape: Sequence[int]) -> nn.Module:
    """`network` in eval mode with batch-norm statistics of a few noise images.

    Without them activations of a random network grow or vanish from layer to layer, and outputs
    could not be compared.
    """
    noise: Tensor = torch.randn(
        CALIBRATION_IMAGES, *shape, generator=torch.Generator().manual_seed(DRAWN_WITH_SEED)
    )
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain average
    with torch.no_grad():
        network.train()(noise)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()
