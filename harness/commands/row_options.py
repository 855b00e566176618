"""Which rows of the leaderboard a verb shows: one set of options for tables and pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.commands import name_options
from harness.commands import shared_options as options
from harness.commands.dataset_options import named
from harness.commands.number_types import WholeNumber
from harness.commands.visible_text import say
from harness.reports import FIGURES, SORTS

if TYPE_CHECKING:
    from harness.registry import Registry
    from harness.reports import Row, Wanted

F = TypeVar("F", bound=Callable[..., Any])
Words = tuple[str, ...]
Bounds = tuple[tuple[str, float], ...]
_BOUND = re.compile(r"([a-z0-9]+)=([0-9.]+)\s*([kMGT]?)B?%?")
_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True, slots=True)
class RowChoice:
    """What the options of `row_options` said."""

    dataset: Words = ()
    model: Words = ()
    method: Words = ()
    paper: Words = ()
    verdict: Words = ()
    least: Bounds = ()
    most: Bounds = ()
    sort: str | None = None
    published: bool = False
    limit: int | None = None
    registries: tuple[Path, ...] = ()

    @property
    def only_papers(self) -> bool:
        """Whether papers were named and nothing else."""
        others = (self.dataset, self.model, self.method, self.verdict, self.least, self.most)
        return bool(self.paper) and not any((*others, self.sort, self.published, self.limit))

    @property
    def figures(self) -> Words:
        """The figures that rows are bounded and sorted by."""
        named = [name for name, _ in (*self.least, *self.most)]
        return tuple(dict.fromkeys([*named, *([self.sort] if self.sort in FIGURES else [])]))

    @property
    def typed(self) -> str:
        """The filters as they were typed."""
        words = [f"--{name} {','.join(values)}" for name, values in self.wanted().filters.items()]
        for option, bounds in (("--min", self.least), ("--max", self.most)):
            words += [f"{option} {name}={value:g}" for name, value in bounds]
        return " ".join(words)

    def wanted(self) -> Wanted:
        """The rows to keep."""
        from harness.reports import Wanted

        filters = (self.dataset, self.model, self.method, self.paper, self.verdict)
        return Wanted(*filters, least=self.least, most=self.most)

    def registry(self) -> Registry:
        """The shipped registry and the user's files."""
        return options.load_registry(self.registries)

    def rows(
        self, registry: Registry, folder: Path | None = None, order: str = "entry"
    ) -> list[Row]:
        """The rows, in the order asked for, else in `order`; why there are none goes to stderr.

        folder: None = everything measured, else the results in it. Raises UsageError for a value
        that nobody has.
        """
        from harness.reports import leaderboard, stored_rows, with_unmeasured

        wanted = self.wanted()
        stored = stored_rows(folder)
        if self.published:
            stored = with_unmeasured(stored, registry)
        _require_known(wanted, stored, registry)
        order = self.sort or order
        shown = leaderboard(stored, registry, wanted, sort=order, limit=self.limit)
        if not shown:
            say(_why_empty(len(stored), registry, self), err=True)
        return shown


def row_options(command: F) -> F:
    """Filters, bounds, order and --published, as one argument `choice`."""
    return options.gathered(
        "choice",
        RowChoice,
        several("dataset", "Only these data sets; folder:PATH for pictures of your own.", named),
        several("model", "Only these models."),
        several("method", "Only these methods."),
        several("paper", "Only rows of these papers."),
        several("verdict", "Only these verdicts."),
        _bounds("--min", "least", "top1=75"),
        _bounds("--max", "most", "macs=1G"),
        click.option(
            "--sort",
            type=click.Choice(tuple(SORTS)),
            help="By name, data set, best top-1, furthest from published, most zeros, least MACs, "
            "non-zero parameters, bytes or time, newest, worst verdict.  [default: entry]",
        ),
        click.option(
            "--published", is_flag=True, help="Also the published rows that nobody has measured."
        ),
        click.option("--limit", type=WholeNumber(1), help="At most N rows, and their baselines."),
        options.extra_registries,
    )(command)


def several(name: str, text: str, read: Callable[[str], str] | None = None) -> Callable[[F], F]:
    """A repeatable option; each value may hold several, separated by commas. read: made of each."""

    def words(ctx: click.Context, param: click.Parameter, given: Words) -> Words:
        found = _words(ctx, param, given)
        return found if read is None else tuple(map(read, found))

    option = name_options.named if f"--{name}" in name_options.COMPLETED else click.option
    return option(f"--{name}", multiple=True, callback=words, metavar="A[,B]", help=text)


def _words(ctx: click.Context, param: click.Parameter, given: Words) -> Words:
    return tuple(word.strip() for text in given for word in text.split(",") if word.strip())


def _bounds(option: str, name: str, example: str) -> Callable[[F], F]:
    side = "At least" if name == "least" else "At most"
    return click.option(
        option,
        name,
        multiple=True,
        callback=_read_bounds,
        metavar="FIGURE=N",
        help=f"{side} so much, as measured: {example}. Figures: {', '.join(FIGURES)}.",
    )


def _read_bounds(ctx: click.Context, param: click.Parameter, given: Words) -> Bounds:
    """(figure, number) of every "macs=1G"; k, M, G and T are thousands, millions and so on."""
    from harness.system import real_number

    found = []
    for word in _words(ctx, param, given):
        parts = _BOUND.fullmatch(word)
        if parts is None or parts[1] not in FIGURES:
            known = ", ".join(FIGURES)
            raise click.BadParameter(f"{word!r}: expected FIGURE=N, FIGURE one of {known}")
        try:
            found.append((parts[1], real_number(parts[2]) * _PREFIX[parts[3]]))
        except ValueError as error:
            raise click.BadParameter(f"{word!r}: {error}") from error
    return tuple(found)


def _why_empty(known: int, registry: Registry, choice: RowChoice) -> str:
    """Why none of `known` rows is shown, and what to do about it."""
    if not known:
        return "No result is stored. Measure some: bench reproduce --suite quickstart"
    asked, filters = choice.typed, choice.wanted().filters
    if list(filters) == ["dataset"] and not choice.least and not choice.most:
        entries = registry.select(dataset=filters["dataset"][0])
        if entries:
            rows = f"{len(entries)} published rows are known, none measured"
            measure = f"Measure one: bench reproduce {entries[0].id}"
            return f"{asked}: {rows}. Show them: bench table {asked} --published. {measure}"
    if choice.published:
        return f"{asked}: none of {known} rows matches. All of them: bench table --published"
    none = f"none of {known} stored results matches"
    return f"{asked}: {none}. Also what nobody has measured: bench table {asked} --published"


def _require_known(wanted: Wanted, stored: Sequence[Row], registry: Registry) -> None:
    """Raises UsageError, with the nearest known values, for a value nobody has."""
    from difflib import get_close_matches

    from harness.results import STATUSES

    for name, values in wanted.filters.items():
        known = {str(getattr(row, name)) for row in stored}
        if name == "verdict":
            known |= set(STATUSES)
        else:
            known |= {str(getattr(entry, name)) for entry in registry.entries.values()}
        for value in values:
            if value not in known:
                near = get_close_matches(value, known, n=3) or sorted(known)[:12]
                raise click.UsageError(f"--{name} {value!r} is unknown; nearest: {', '.join(near)}")
