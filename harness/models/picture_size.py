"""Whether a network can take the pictures it is about to be given, and answers with the classes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from harness.errors import ProtocolError, RegistryError
from harness.models.building import build, input_size
from harness.models.model_names import ModelName, parse_model_name
from harness.models.own_code import SIDE, own_code
from harness.registry import Entry, Evaluation, data_set, input_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

PAIR = 2  # images: batch norm needs more than one value per channel in training


def require_size(model: nn.Module, name: str, shape: tuple[int, int, int]) -> None:
    """Raise ProtocolError unless `model` answers one black picture of `shape` (C,H,W).

    A network too deep for its pictures pools them away, one with a fixed size refuses others; both
    would otherwise end inside a library, after everything else was made ready. name: as `build`
    knows it. The model is left as it was.
    """
    training, first = model.training, next(model.parameters(), None)
    picture = torch.zeros(1, *shape, device=None if first is None else first.device)
    model.eval()
    try:
        with torch.no_grad():
            model(picture)
    except Exception as error:  # of three libraries, and of code of one's own
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(". ")
        channels, height, width = shape
        raise ProtocolError(
            f"model {name!r} cannot take pictures of {height}x{width} with {channels} channels: "
            f"{reason}. {_advice(name)}"
        ) from error
    finally:
        model.train(training)


def fitted(name: str, shape: tuple[int, int, int], classes: int) -> str:
    """`name`, with the argument for the picture size where the network needs one.

    shape: (C,H,W) of the pictures. The network is built and answers them, also as in training;
    the global random generator is left as it was. Raises RegistryError if it cannot be built,
    ProtocolError if it does not take the pictures or does not give one logit per class.
    """
    refusal: ProtocolError | None = None
    for candidate in _candidates(parse_model_name(name), shape[1]):
        with torch.random.fork_rng(devices=[]):
            try:
                network = build(str(candidate), classes, shape[0])
                require_size(network, name, shape)
            except (ProtocolError, RegistryError) as error:
                if refusal is None:
                    if isinstance(error, RegistryError):
                        raise
                    refusal = error
                continue
            _require_logits(network, name, shape, classes)
            return str(candidate)
    assert refusal is not None, "there is a first candidate"
    raise refusal


def fitted_entry(entry: Entry, evaluation: Evaluation) -> Entry:
    """`entry` with its network fitted to the pictures of `evaluation`. Raises as `fitted` does."""
    classes = data_set(entry.dataset).classes
    return replace(entry, model=fitted(entry.model, input_shape(evaluation), classes))


def _candidates(name: ModelName, side: int) -> Iterator[ModelName]:
    """The network as it is named; then told the side of the pictures, if it can be told."""
    yield name
    code = own_code(name.base)
    known = SIDE[:2] if code is None else filter(None, [code.accepts(SIDE)])
    for parameter in known:
        if parameter not in name.arguments:
            yield name.with_arguments({parameter: side})


def _require_logits(
    network: nn.Module, name: str, shape: tuple[int, int, int], classes: int
) -> None:
    pictures = torch.zeros(PAIR, *shape)
    for mode, training in (("evaluation", False), ("training", True)):
        try:
            with torch.no_grad():
                found = network.train(training)(pictures)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(". ")
            msg = f"model {name!r} fails on {PAIR} pictures in {mode}: {reason}"
            raise ProtocolError(f"{msg}. {_advice(name)}") from error
        if not isinstance(found, Tensor):
            raise ProtocolError(
                f"model {name!r} gives {type(found).__name__} in {mode}, not one tensor of logits. "
                "Auxiliary outputs are switched off by an argument: --model-args aux_logits=false"
            )
        if tuple(found.shape) != (PAIR, classes):
            raise ProtocolError(
                f"model {name!r} answers {PAIR} pictures with {tuple(found.shape)} in {mode}; "
                f"the data set needs ({PAIR}, {classes}). Let its builder take num_classes, or set "
                f"what it has instead: --model-args name={classes}"
            )


def _advice(name: str) -> str:
    base = parse_model_name(name).base
    if own_code(base) is not None:
        return "Let its builder take image_size or in_channels, or choose another data set"
    return (
        f"It was designed for {input_size(base)} pixels a side; choose a network for pictures of "
        "this size (the ..._cifar ones take 32), or an evaluation that resizes them"
    )
