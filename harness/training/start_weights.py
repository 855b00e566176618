"""Where a training run starts: freshly drawn weights, a registry entry's, or a user's file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from harness import paths
from harness.checkpoints import build_model, load_model, read_weights
from harness.errors import ProtocolError
from harness.evaluation import checkpoint_facts
from harness.registry import START_BASELINE, Entry, Recipe, Registry
from harness.results import CheckpointFacts
from harness.system import Options
from methods.initialisers import caffe_xavier_, variance_scaling_
from methods.inventory import prunable_weights


@dataclass(frozen=True, slots=True)
class Start:
    """Weights under plain names, what to call them, and the facts about their bytes."""

    name: str
    tensors: Mapping[str, Tensor]
    facts: CheckpointFacts
    file: Path | None = None  # of a first training, which no option but a file can name


def start_of(
    entry: Entry,
    recipe: Recipe,
    registry: Registry,
    options: Options,
    train: Callable[[Entry], Path],
) -> Start | None:
    """The weights that a run of `recipe` begins with; None = drawn afresh.

    A file of the user (options.from_file) comes before the recipe's own start. train: the file that
    a finished run of an entry left; asked for when nothing is published and a recipe is known.
    Raises CheckpointError when they cannot be had, ProtocolError when the entry names none.
    """
    if options.from_file is not None:
        network = build_model(entry)
        tensors, facts = read_weights(options.from_file, options.reading, network, options.progress)
        run = _run_of(options.from_file)
        if run is not None:
            return Start(f"run {run}", tensors, replace(facts, source=f"run:{run}"))
        return Start(f"file {options.from_file.name}", tensors, facts)
    source = start_entry(entry, recipe, registry)
    if source is None:
        return None
    if trained_first(source):
        tensors, facts = read_weights(train(source))
        here = replace(facts, source=f"trained:{source.id}")
        return Start(f"{source.id}, trained here", tensors, here)
    model, obtained = load_model(source, replace(options, device="cpu"))
    return Start(source.id, model.state_dict(), checkpoint_facts(obtained))


def _run_of(file: Path) -> str | None:
    """<name>/<folder> of the run that left `file`; None for a file of another kind."""
    runs, whole = paths.runs_folder().resolve(), file.resolve()
    if not whole.is_relative_to(runs):
        return None
    return "/".join(whole.relative_to(runs).parts[:2])


def start_entry(entry: Entry, recipe: Recipe, registry: Registry) -> Entry | None:
    """The entry whose weights a run of `recipe` begins with; None = drawn afresh.

    Raises ProtocolError if that is the baseline and the entry names none.
    """
    if recipe.start is None:
        return None
    name = entry.baseline if recipe.start == START_BASELINE else recipe.start
    if name is None:
        msg = f"{entry.id}: recipe {recipe.name} starts from the baseline, but the entry names none"
        raise ProtocolError(f"{msg}. Give one: --set start=ID, or a file")
    return registry.get(name)


def trained_first(source: Entry) -> bool:
    """Whether the weights of `source` have to be trained here: none published, a recipe known."""
    return source.checkpoint is None and source.recipe is not None


def initialise(model: nn.Module, kind: str) -> None:
    """Draw weights anew as the recipe's `init` says; "default" leaves the model's.

    kaiming_*: convolutions. The others: convolutions and linear layers, their biases become 0.
    """
    _INITS[kind](model)


def _kaiming(mode: Literal["fan_in", "fan_out"]) -> Callable[[nn.Module], None]:
    def draw(model: nn.Module) -> None:
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")

    return draw


def _every_layer(draw_: Callable[[Tensor], object]) -> Callable[[nn.Module], None]:
    def draw(model: nn.Module) -> None:
        for weight in prunable_weights(model).values():
            draw_(weight.parameter)
            bias = getattr(weight.owner, "bias", None)
            if isinstance(bias, Tensor):
                nn.init.zeros_(bias)

    return draw


_INITS: dict[str, Callable[[nn.Module], None]] = {
    "default": lambda model: None,
    "kaiming_fan_in": _kaiming("fan_in"),
    "kaiming_fan_out": _kaiming("fan_out"),
    "variance_scaling": _every_layer(variance_scaling_),
    "caffe_xavier": _every_layer(caffe_xavier_),
    "glorot_normal": _every_layer(nn.init.xavier_normal_),
}
