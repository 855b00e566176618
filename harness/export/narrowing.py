"""A network whole, and without a share of its channels, which is written to a file."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from harness.checkpoints import Origin, load_model, save_narrowed
from harness.export.channel_removal import OUTPUTS, Removal, remove_channels_
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
    from harness.registry import Entry, Registry


def narrowed_entry(
    entry: Entry, registry: Registry, options: Options, share: float, out: Path
) -> TimedNetworks:
    """An entry's network whole, and without `share` of its channels, which is written to `out`.

    Raises CheckpointError if the weights cannot be had, ProtocolError if they cannot be cut.
    """
    network, obtained = load_model(entry, options)
    about = data_set(entry.dataset)
    origin = Origin(entry.model, about.classes, about.channels)
    shape = input_shape(registry.evaluations[entry.evaluation])
    whole = TimedNetwork(DENSE, entry.model, obtained.source, network)
    return _narrow(entry.id, whole, origin, shape, share, out)


def narrowed_model(
    model: str, weights: Path | None, share: float, out: Path, options: Options
) -> TimedNetworks:
    """A model whole, and without `share` of its channels, which is written to `out`."""
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
