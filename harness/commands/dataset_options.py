"""The options that name a data set, for every verb that takes one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from harness.commands import name_options
from harness.commands.number_types import RealNumber
from harness.commands.visible_text import say_line

F = TypeVar("F", bound=Callable[..., Any])

DATASET_HELP = "Data set, such as cifar10; pictures of your own: folder:PATH."


def dataset(*, required: bool = False, help: str = DATASET_HELP) -> Callable[[F], F]:
    """--dataset NAME and --split FRAC, which reach the command as the name of a known data set."""

    def decorate(command: F) -> F:
        @wraps(command)
        def called(*, dataset: str | None, split: float | None, **values: Any) -> Any:
            return command(dataset=dataset and named(dataset, split), **values)

        for option in (
            click.option(
                "--split",
                type=RealNumber(0, 1, min_open=True, max_open=True),
                metavar="FRAC",
                help="folder:PATH without train/ and val/: share of each class to train on.",
            ),
            name_options.named("--dataset", required=required, metavar="NAME", help=help),
        ):
            called = option(called)
        return called  # type: ignore[return-value]  # click only calls it by keywords

    return decorate


def named(typed: str, split: float | None = None) -> str:
    """The name of the data set that was typed; what is measured for it is said on stderr."""
    from harness.registry import is_installed_data_set

    if not typed.startswith("folder:") and split is None and not is_installed_data_set(typed):
        return typed
    from harness.data import data_set_name

    return data_set_name(typed, split, note=lambda text: say_line(text, err=True))
