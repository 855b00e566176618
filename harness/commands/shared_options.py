"""Options shared by several verbs, and the objects they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.commands.number_types import WholeNumber

if TYPE_CHECKING:
    from harness.registry import Entry, Registry
    from harness.system import CachePolicy

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path, dir_okay=False)


def gathered(name: str, kind: type, *given: Callable[[F], F]) -> Callable[[F], F]:
    """Options that reach the command as one argument `name`: a `kind` with a field for each.

    Fields without an option keep their defaults.
    """

    def decorate(command: F) -> F:
        @wraps(command)
        def called(**values: Any) -> Any:
            names = [field.name for field in fields(kind) if field.name in values]
            chosen = {name: values.pop(name) for name in names}
            return command(**values, **{name: kind(**chosen)})

        for option in reversed(given):
            called = option(called)
        return called  # type: ignore[return-value]  # click only calls it by keywords

    return decorate


def as_json(command: F) -> F:
    """--json: one JSON document on stdout and nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(command)


def extra_registries(command: F) -> F:
    """--registry FILE: more entries, next to those that come with the code."""
    text = "Another registry file to add (repeatable)."
    return click.option("--registry", "registries", type=FILE, multiple=True, help=text)(command)


def from_file(help: str = "Checkpoint file downloaded by hand.") -> Callable[[F], F]:
    """--from FILE."""
    return click.option("--from", "from_file", type=FILE, help=help)


def settings(help: str) -> Callable[[F], F]:
    """--set KEY=VALUE, as texts."""
    return click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help=help)


def data_root(command: F) -> F:
    """--data-root DIR."""
    return click.option(
        "--data-root",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the data sets (default: $BENCH_DATA_ROOT, else <home>/data).",
    )(command)


def device(command: F) -> F:
    """--device D."""
    return click.option(
        "--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps or auto."
    )(command)


def recalibrate(command: F) -> F:
    """--recalibrate N."""
    return click.option(
        "--recalibrate",
        type=WholeNumber(1),
        metavar="N",
        help="Give batch norms the statistics of N training images first (recorded).",
    )(command)


def evaluation(command: F) -> F:
    """--cache/--no-cache and --fast."""
    command = click.option(
        "--fast",
        is_flag=True,
        help="Measure bfloat16, channels last, compiled as well; never judged.",
    )(command)
    return click.option(
        "--cache/--no-cache",
        "cache",
        default=None,
        help="Picture files: decode once into the home folder, or anew each time "
        "(default: once, if there is room).",
    )(command)


def reading(command: F) -> F:
    """--weights-format and --weights-key, as one argument `reading`."""
    from harness.system import Reading

    return gathered(
        "reading",
        Reading,
        click.option(
            "--weights-format", metavar="ID", help="File format (default: told from the content)."
        ),
        click.option(
            "--weights-key",
            metavar="KEY",
            help="Part of the file that holds the weights, such as state_dict_ema "
            "(default: the first that fits; the output names the others).",
        ),
    )(command)


def cache_policy(cache: bool | None) -> CachePolicy:
    """What --cache, --no-cache or neither asks for."""
    if cache is None:
        return "build"
    return "require" if cache else "off"


def complete_ids(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Ids that begin with what was typed, for shell completion."""
    return [name for name in load_registry(()).entries if name.startswith(incomplete)]


def suite(command: F) -> F:
    """--suite NAME."""
    return click.option(
        "--suite",
        shell_complete=_complete_suites,
        help="All entries of a suite (quickstart, nightly, ...), or of a paper (acdc, str, ...).",
    )(command)


def _complete_suites(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str]:
    registry = load_registry(())
    return [name for name in (*registry.suites, *registry.papers) if name.startswith(incomplete)]


def chosen_entries(
    registry: Registry, ids: tuple[str, ...], suite: str | None, example: str
) -> list[Entry]:
    """The entries named and those of the suite, each once. Raises UsageError if there is none."""
    if not ids and suite is None:
        raise click.UsageError(f"name at least one ID, or --suite {example}")
    chosen = [registry.get(entry_id) for entry_id in ids]
    chosen += registry.suite(suite) if suite else ()
    return list({entry.id: entry for entry in chosen}.values())


def require_known(wanted: dict[str, str | None], entries: Iterable[Entry]) -> None:
    """Raises UsageError, with the nearest known values, for a filter that no entry can pass."""
    from difflib import get_close_matches

    all_entries = list(entries)
    for name, value in wanted.items():
        known = dict.fromkeys(str(getattr(entry, name)) for entry in all_entries)
        if value is not None and value not in known:
            near = get_close_matches(value, known, n=3) or sorted(known)[:12]
            raise click.UsageError(f"--{name} {value!r} has no entry; nearest: {', '.join(near)}")


def require_papers(papers: Iterable[str], registry: Registry) -> None:
    """Raises UsageError, with the nearest known key, for a paper that the registry lacks."""
    from harness.registry import nearest

    for paper in papers:
        if paper not in registry.papers:
            hint = nearest(paper, registry.papers)
            raise click.UsageError(f"no paper is called {paper!r}{hint}")


def load_registry(registries: tuple[Path, ...]) -> Registry:
    """The shipped registry plus the user's files."""
    from harness.registry import load

    return load(extra=registries)


def pick_device(name: str) -> str:
    """The torch device to use. Raises ProtocolError if it is not there."""
    if name == "cpu":
        return name
    import torch

    from harness.errors import ProtocolError

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        msg = f"device {name!r} is not usable: {reason}. Try: --device cpu"
        raise ProtocolError(msg) from error
    return name
