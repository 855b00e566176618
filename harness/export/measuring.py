"""What the user named, measured: evaluated by a protocol, or made ready to be timed."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import ProtocolError
from harness.evaluation import Listener, evaluate_model
from harness.export.finding import FoundNetwork, NetworkName, find_network
from harness.profile import TimedNetworks, beside_dense
from harness.registry import LOCAL, Registry, local_entry
from harness.results import Result
from harness.system import Options


def evaluate_network(
    what: NetworkName,
    registry: Registry,
    options: Options,
    *,
    evaluation: str | None = None,
    name: str | None = None,
    recalibrate: int | None = None,
    on_result: Listener | None = None,
) -> Result:
    """Evaluate the network that `what` means as one of the user's own; save and return the result.

    evaluation: a protocol on its data set; None = its own. name: of the result; None = made from
    what was named. recalibrate: so many training images give batch norms new statistics first.
    Raises as `find_network` and `evaluate_model` do.
    """
    found = find_network(replace(what, evaluation=evaluation), registry, options)
    if found.weights.facts is None:
        raise ProtocolError(f"{found.entry.model} has no weights yet; give them: --weights FILE")
    known = found.entry
    entry = local_entry(
        registry,
        method=known.method,
        model=known.model,
        dataset=known.dataset,
        evaluation=evaluation or known.evaluation,
        settings=known.settings,
        granularity=known.granularity,
        name=name or _name(found, what, recalibrate),
    )
    network = found.weights.network.to(options.device)
    result = evaluate_model(entry, registry, network, found.weights.facts, options, recalibrate)
    if on_result is not None:
        on_result(result)
    return result


def _name(found: FoundNetwork, what: NetworkName, recalibrate: int | None) -> str:
    """local-<model>-<dataset>-<file>, or the name of what was evaluated and "evaluated"."""
    parts = [found.entry.id]
    if what.word is not None:
        own = found.entry.paper == LOCAL
        parts = [*([] if own else ["local"]), found.entry.id, "evaluated"]
    return "-".join([*parts, *([] if recalibrate is None else [f"bn{recalibrate}"])])


def timed_network(what: NetworkName, registry: Registry, options: Options) -> TimedNetworks:
    """The network of an entry or a run, and the dense one drawn at random, to be timed in turns.

    Raises as `find_network` does.
    """
    found = find_network(what, registry, options)
    network = found.weights.network.to(options.device)
    return beside_dense(found.entry, registry, network, found.weights.where, options.device)
