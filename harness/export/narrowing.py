"""A network whole, and without a share of its channels, which is written to a file."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.checkpoints import Origin, save_narrowed
from harness.export.channel_removal import OUTPUTS, Removal, remove_channels_
from harness.export.finding import NetworkName, find_network
from harness.profile import (
    DRAWN_WITH_SEED,
    TimedNetwork,
    TimedNetworks,
    fresh_network,
    input_shape_of,
    network_from_file,
)
from harness.registry import data_set, input_shape
from harness.results import DENSE
from harness.system import Options

if TYPE_CHECKING:
    from harness.registry import Registry


def narrowed_network(
    name: NetworkName, registry: Registry, options: Options, share: float, out: Path
) -> TimedNetworks:
    """A network whole, and without `share` of its channels, which is written to `out`.

    A model without weights is drawn at random. Raises as `find_network` does, and ProtocolError if
    the network cannot be cut.
    """
    if name.model is not None and name.word is None and name.dataset is None:
        return narrowed_model(name.model, name.weights, share, out, options)
    found = find_network(name, registry, options, fresh=True)
    entry, about = found.entry, data_set(found.entry.dataset)
    origin = Origin(entry.model, about.classes, about.channels)
    shape = input_shape(registry.evaluations[entry.evaluation])
    whole = TimedNetwork(DENSE, entry.model, found.weights.where, found.weights.network)
    return _narrow(entry.id, whole, origin, shape, share, out)


def narrowed_model(
    model: str, weights: Path | None, share: float, out: Path, options: Options
) -> TimedNetworks:
    """As `narrowed_network`, at the classes and picture size that the model was designed for."""
    shape = input_shape_of(model, None)
    if weights is None:
        whole = TimedNetwork(
            DENSE, model, f"random, seed {DRAWN_WITH_SEED}", fresh_network(model, None, shape)
        )
    else:
        whole = replace(network_from_file(model, weights, None, options), name=DENSE)
    return _narrow(model, whole, Origin(model), shape, share, out)


def _narrow(
    name: str,
    whole: TimedNetwork,
    origin: Origin,
    shape: tuple[int, int, int],
    share: float,
    out: Path,
) -> TimedNetworks:
    images = torch.randn(1, *shape, generator=torch.Generator().manual_seed(DRAWN_WITH_SEED))
    network = copy.deepcopy(whole.network)
    removal = remove_channels_(network, images, share)
    save_narrowed(network, origin, images, out)
    said = f"{whole.weights}; {_words(removal, share)}"
    small = TimedNetwork(f"channels-{share:g}", origin.model, said, network)
    return TimedNetworks(f"{name}-channels-{share:g}", shape, (whole, small))


def _words(removal: Removal, share: float) -> str:
    """What was cut, and what was not beside the network's outputs, with the first reason."""
    text = f"without {100 * share:g} % of the channels, smallest L1 norm first"
    reasons = [reason for reason in removal.whole.values() if reason != OUTPUTS]
    if not reasons:
        return text
    groups = len(removal.cut) + len(reasons)
    return (
        f"{text}, in {len(removal.cut)} of {groups} groups of layers (others whole: {reasons[0]})"
    )
