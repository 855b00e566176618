"""The options that name a data set, for every verb that takes one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, TypeVar

import click

from harness.commands import name_options
from harness.commands.number_types import RealNumber, WholeNumber
from harness.commands.visible_text import say_line

F = TypeVar("F", bound=Callable[..., Any])

DATASET_HELP = "Data set, such as cifar10; pictures of your own: folder:PATH."


SPLIT = click.option(
    "--split",
    type=RealNumber(0, 1, min_open=True, max_open=True),
    metavar="FRAC",
    help="folder:PATH without train/ and val/: share of each class to train on.",
)


class Channels(click.ParamType):
    """Numbers separated by commas, one for each channel: 0.5 or 0.485,0.456,0.406."""

    name = "channels"

    def __init__(self, positive: bool = False) -> None:
        self.positive = positive

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """The numbers, within 0..1; above 0 if they divide."""
        from harness.system import real_number

        try:
            numbers = tuple(real_number(part.strip()) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not numbers such as 0.485,0.456,0.406", param, ctx)
        if not all(0 <= number <= 1 for number in numbers) or (self.positive and 0 in numbers):
            self.fail(f"{value!r}: pixels lie within 0 and 1, and so do these", param, ctx)
        return numbers


STATED = (
    click.option(
        "--image-size",
        type=WholeNumber(1),
        metavar="PIXELS",
        help="folder:PATH: side that pictures are resized and cropped to (default: measured).",
    ),
    click.option(
        "--mean",
        type=Channels(),
        metavar="R,G,B",
        help="folder:PATH: mean of each channel in 0..1 (default: of the training pictures).",
    ),
    click.option(
        "--std",
        type=Channels(positive=True),
        metavar="R,G,B",
        help="folder:PATH: standard deviation, likewise.",
    ),
)


def dataset(*, help: str = DATASET_HELP, stated: bool = False) -> Callable[[F], F]:
    """--dataset NAME and --split FRAC, which reach the command as the name of a known data set.

    stated: with --image-size, --mean and --std, for the protocol of a folder.
    """

    def decorate(command: F) -> F:
        @wraps(command)
        def called(
            *,
            dataset: str | None,
            split: float | None,
            image_size: int | None = None,
            mean: tuple[float, ...] | None = None,
            std: tuple[float, ...] | None = None,
            **values: Any,
        ) -> Any:
            known = None if dataset is None else named(dataset, split, image_size, mean, std)
            return command(dataset=known, **values)

        name = name_options.named("--dataset", metavar="NAME", help=help)
        for option in (*(reversed(STATED) if stated else ()), SPLIT, name):
            called = option(called)
        return called  # type: ignore[return-value]  # click only calls it by keywords

    return decorate


def named(
    typed: str,
    split: float | None = None,
    image_size: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> str:
    """The name of the data set that was typed; what is measured for it is said on stderr."""
    from harness.registry import is_installed_data_set

    plain = (split, image_size, mean, std) == (None, None, None, None)
    if not typed.startswith("folder:") and plain and not is_installed_data_set(typed):
        return typed
    from harness.data import Stated, data_set_name

    say = partial(say_line, err=True)
    return data_set_name(typed, split, note=say, stated=Stated(image_size, mean, std))
