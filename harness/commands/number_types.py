"""Types of options that take a number: read by the one reader of numbers, then held to a range."""

from __future__ import annotations

from typing import Any

import click

from harness.system import real_number, whole_number


class WholeNumber(click.IntRange):
    """A whole number between `min` and `max`, in ASCII digits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            number = whole_number(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return super().convert(number, param, ctx)


class RealNumber(click.FloatRange):
    """A finite number between `min` and `max`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            number = real_number(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return super().convert(number, param, ctx)
