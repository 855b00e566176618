"""Options whose values are names: the shell completes them, and `bench list` prints them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from harness.commands.shared_options import load_registry

F = TypeVar("F", bound=Callable[..., Any])


def named(flag: str, *rest: Any, **attributes: Any) -> Callable[[F], F]:
    """`click.option` for --method, --model, --dataset, --recipe, --paper or --evaluation."""
    return click.option(flag, *rest, shell_complete=_completer(COMPLETED[flag]), **attributes)


def _completer(names: Callable[[], Iterable[str]]) -> Callable[..., list[str]]:
    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        return sorted(name for name in names() if name.startswith(incomplete))

    return complete


def _methods() -> Iterable[str]:
    import methods

    return methods.names()


def _models() -> Iterable[str]:
    """Networks of the project, of installed packages and of the registry; torch stays out."""
    from harness.models import own_names

    return {*own_names(), *(entry.model for entry in load_registry(()).entries.values())}


def _datasets() -> Iterable[str]:
    from harness.registry import data_set_names

    return data_set_names()


COMPLETED: dict[str, Callable[[], Iterable[str]]] = {
    "--method": _methods,
    "--model": _models,
    "--dataset": _datasets,
    "--recipe": lambda: load_registry(()).recipes,
    "--evaluation": lambda: load_registry(()).evaluations,
    "--paper": lambda: load_registry(()).papers,
}
