"""The options that name a network, for every verb that takes one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.commands import dataset_options, name_options
from harness.commands.shared_options import FILE

F = TypeVar("F", bound=Callable[..., Any])

MODEL_HELP = (
    "Network: a name of ours, torchvision's or timm's, or code of your own: "
    "package.module:Class or path/to/file.py:Class."
)


def model(*, help: str = MODEL_HELP) -> Callable[[F], F]:
    """--model NAME and --model-args KEY=VALUE, which reach the command as one text `model`.

    Code of one's own is imported here and nowhere else: the user typed its name.
    """

    def decorate(command: F) -> F:
        @wraps(command)
        def called(*, model: str | None, model_args: tuple[str, ...], **values: Any) -> Any:
            return command(model=model and resolved(model, model_args), **values)

        for option in (
            click.option(
                "--model-args",
                multiple=True,
                metavar="KEY=VALUE",
                help="Argument of the network, such as width=32 or bias=false (repeatable).",
            ),
            name_options.named("--model", metavar="NAME", help=help),
        ):
            called = option(called)
        return called  # type: ignore[return-value]  # click only calls it by keywords

    return decorate


def named(command: F) -> F:
    """The command's ID, or --model, --model-args, --dataset and --weights, as a NetworkName `what`.

    The ID is the argument `entry_id`, where the command has it.
    """

    @wraps(command)
    def called(
        *,
        model: str | None,
        dataset: str | None,
        weights: Path | None,
        entry_id: str | None = None,
        **values: Any,
    ) -> Any:
        from harness.export import NetworkName

        return command(what=NetworkName(entry_id, model, dataset, weights), **values)

    for option in (
        click.option(
            "--weights",
            type=FILE,
            help="With --model: its weights, a state dict (.pt, .pth, .safetensors, ...).",
        ),
        dataset_options.dataset(help="With --model: sets classes and picture size."),
        model(help=f"Instead of an ID, or beside a run of code of your own. {MODEL_HELP}"),
    ):
        called = option(called)
    return called  # type: ignore[return-value]  # click only calls it by keywords


def resolved(typed: str, assignments: tuple[str, ...] = ()) -> str:
    """The name of the network that was typed; code of one's own is imported."""
    from harness.models import ModelName, import_typed, is_own_code, parse_model_name

    name = parse_model_name(typed).with_arguments(_arguments(assignments))
    if is_own_code(name.base):
        name = ModelName(import_typed(name.base), name.arguments)
    return str(name)


def _arguments(assignments: tuple[str, ...]) -> dict[str, object]:
    """KEY=VALUE texts as typed values: numbers, true and false, everything else a text."""
    from harness.registry import scalar

    arguments: dict[str, object] = {}
    for text in assignments:
        key, found, value = text.partition("=")
        if not found or not key:
            raise click.UsageError(f"--model-args {text!r}: expected KEY=VALUE, such as width=32")
        try:
            arguments[key] = scalar(value)
        except ValueError as error:
            raise click.UsageError(f"--model-args {key}: {error}") from error
    return arguments
