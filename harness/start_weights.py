"""Where a training run starts: freshly drawn weights, a registry entry's, or a user's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor, nn

from harness.errors import ProtocolError
from harness.local import read_weights
from harness.recipes import START_BASELINE, Recipe
from harness.record import checkpoint_facts
from harness.registry import Entry, Registry
from harness.reproduce import Options, load_model
from harness.results import CheckpointFacts


@dataclass(frozen=True, slots=True)
class Start:
    """Weights under plain names, what to call them, and the facts about their bytes."""

    name: str
    tensors: Mapping[str, Tensor]
    facts: CheckpointFacts


def start_of(entry: Entry, recipe: Recipe, registry: Registry, options: Options) -> Start | None:
    """The weights that a run of `recipe` begins with; None = drawn afresh.

    A file of the user (options.from_file) comes before the recipe's own start.
    Raises CheckpointError when they cannot be had, ProtocolError when the entry names none.
    """
    if options.from_file is not None:
        tensors, facts = read_weights(options.from_file, "plain")
        return Start(f"file {options.from_file.name}", tensors, facts)
    if recipe.start is None:
        return None
    name = entry.baseline if recipe.start == START_BASELINE else recipe.start
    if name is None:
        msg = f"{entry.id}: recipe {recipe.name} starts from the baseline, but the entry names none"
        raise ProtocolError(f"{msg}. Give one: --set start=ID, or a file")
    model, obtained = load_model(registry.get(name), replace(options, device="cpu"))
    return Start(name, model.state_dict(), checkpoint_facts(obtained))


def initialise(model: nn.Module, kind: str) -> None:
    """Draw convolution weights anew as the recipe's `init` says; "default" leaves the model's."""
    _INITS[kind](model)


def _kaiming(mode: Literal["fan_in", "fan_out"]) -> Callable[[nn.Module], None]:
    def draw(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")

    return draw


_INITS: dict[str, Callable[[nn.Module], None]] = {
    "default": lambda model: None,
    "kaiming_fan_in": _kaiming("fan_in"),
    "kaiming_fan_out": _kaiming("fan_out"),
}
