"""bench registry add"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from harness.commands import shared_options as options
from harness.commands.output import print_json
from harness.commands.shared_options import FILE
from harness.commands.visible_text import say_line
from harness.errors import RegistryError
from harness.registry import (
    FLOPS_CONVENTIONS,
    FORMATS,
    GRANULARITIES,
    METRICS,
    Checkpoint,
    Fault,
    Paper,
    Published,
    data_set_names,
    is_metric,
    nearest,
    require_id,
)

if TYPE_CHECKING:
    from harness.maintenance import EntryDraft
    from harness.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])
Check = Callable[[str], object]  # raises Fault, RegistryError or UsageError; the rest is ignored

# Option, what is asked (and what the option's help says). In the order of asking.
_QUESTIONS = {
    "paper": "Key of the paper, known (bench list) or new",
    "title": "Title of the paper",
    "venue": "Where it appeared, with the year",
    "url": "Page of the paper",
    "code": "Repository of the paper, empty if none",
    "paper-license": "Licence of the released code",
    "convention": "How the source counts FLOPs",
    "method": "Method, as bench train knows it, or a new name",
    "about": "What the new method is, in one line",
    "granularity": "What it removes",
    "model": "Network, as harness.models.build knows it",
    "dataset": "Data set",
    "evaluation": "Preprocessing",
    "recipe": "Training recipe of the registry, empty if none is known",
    "baseline": "Id of the dense entry it started from, empty if none",
    "id": "Id of the entry",
    "format": "Format of the checkpoint",
    "license": "Licence of the checkpoint, as stated where it lies",
    "source": "Where the numbers are printed",
}


def _questions(command: F) -> F:
    for name, text in reversed(_QUESTIONS.items()):
        command = click.option(f"--{name}", help=f"{text}.")(command)
    return command


@click.command("add", epilog="Example:  bench registry add --into mine.yaml")
@_questions
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Method setting.")
@click.option("--link", "links", multiple=True, help="Where the checkpoint lies (repeatable).")
@click.option("--file", "file", type=FILE, help="The checkpoint here: hash and size come from it.")
@click.option("--fetch/--no-fetch", default=None, help="Fetch the first link to compute its hash.")
@click.option("--published", multiple=True, metavar="METRIC=NUMBER", help="Digits as printed.")
@click.option("--note", default="", help="What a reader should know about the entry.")
@click.option(
    "--out", "--into", "into", type=FILE, help="File to write or to add to (default: ID.yaml here)."
)
@click.option("--no-input", is_flag=True, help="Ask nothing: options and defaults only.")
@options.extra_registries
@options.as_json
def command(
    settings: tuple[str, ...],
    links: tuple[str, ...],
    file: Path | None,
    fetch: bool | None,
    published: tuple[str, ...],
    note: str,
    into: Path | None,
    no_input: bool,
    registries: tuple[Path, ...],
    as_json: bool,
    **answers: str | None,
) -> None:
    """Add an entry: asked step by step, or from options alone.

    The hash is computed from the file, whose tensors must fit the network. What is written is
    checked like the registry itself; a file that exists keeps its comments and its order.
    """
    from harness.maintenance import new_entry as contribution

    registry = options.load_registry(registries)
    asker = _Asker(answers, silent=no_input)
    try:
        draft = _draft(asker, registry, settings, note)
        draft = replace(draft, published=_published(asker, published))
        with tempfile.TemporaryDirectory() as folder:
            draft, here = _with_checkpoint(asker, draft, links, file, fetch, Path(folder))
            target = into or Path(f"{draft.id}.yaml")
            entry = contribution.save(draft, target, registries, here)
    except Fault as fault:
        raise RegistryError(f"{fault}. Nothing was written") from fault
    if as_json:
        from dataclasses import asdict

        print_json({"file": str(target), **asdict(entry)})
        return
    say_line(f"{target}: {entry.id} is in it and valid")
    if entry.checkpoint and entry.checkpoint.sha256:
        say_line(f"  sha256 {entry.checkpoint.sha256}, {entry.checkpoint.size_bytes:,} bytes")
    say_line(f"  measure it: bench reproduce {entry.id} --registry {target}")


@dataclass
class _Asker:
    """Answers from the options; the others are asked for, unless nobody is to be asked."""

    given: dict[str, str | None]
    silent: bool

    def ask(
        self,
        name: str,
        default: str | None = None,
        known: Iterable[str] | None = None,
        check: Check | None = None,
    ) -> str:
        """The answer to the question `name`. Raises UsageError if it is missing or unknown.

        check: what else an answer that is typed must pass; of options, the registry's checks tell.
        """
        words = list(known) if known is not None else None

        def require_known(answer: str) -> None:
            if words is not None and answer not in words:
                hint = nearest(answer, filter(None, words))
                raise click.UsageError(f"--{name}: {answer!r} is not known{hint}")

        answer = self.given.get(name.replace("-", "_"))
        if answer is None and not self.silent:
            shown = f" ({', '.join(words)})" if words and len(words) <= 12 else ""
            return _typed(_QUESTIONS[name] + shown, default, require_known, check)
        if answer is None and default is None:
            raise click.UsageError(f"--{name} is needed: {_QUESTIONS[name]}")
        if answer is None:
            return str(default)
        require_known(answer)
        return answer

    def confirm(self, text: str) -> bool:
        return not self.silent and click.confirm(text, default=True, err=True)


def _typed(question: str, default: str | None, *checks: Check | None) -> str:
    """An answer from the keyboard; what does not pass is said and asked again."""

    def passed(answer: str) -> str:
        try:
            for check in filter(None, checks):
                check(answer)
        except (Fault, RegistryError) as error:
            raise click.UsageError(getattr(error, "problem", str(error))) from error
        return answer

    return str(
        click.prompt(question, default, value_proc=passed, show_default=bool(default), err=True)
    )


def _draft(asker: _Asker, registry: Registry, settings: tuple[str, ...], note: str) -> EntryDraft:
    import methods
    from harness.maintenance import EntryDraft, evaluations_on, suggested_id

    paper = _paper(asker, registry)
    method = asker.ask("method")
    about = ""
    if method not in (*methods.names(), *registry.external_methods):
        about = asker.ask("about")
    if not settings and not asker.silent:
        words = "Settings of the method, KEY=VALUE with spaces between, empty if none"
        settings = tuple(_typed(words, "", lambda text: list(map(_setting, text.split()))).split())
    chosen = dict(_setting(text) for text in settings)
    model = asker.ask("model", check=_require_model)
    dataset = asker.ask("dataset", known=data_set_names())
    possible = evaluations_on(registry, dataset)
    return EntryDraft(
        paper=paper,
        method=method,
        external_method=about,
        model=model,
        dataset=dataset,
        granularity=asker.ask("granularity", "unstructured", GRANULARITIES),
        evaluation=asker.ask("evaluation", next(iter(possible), None), possible),
        recipe=asker.ask("recipe", "", ("", *registry.recipes)) or None,
        baseline=asker.ask("baseline", "", ("", *registry.entries)) or None,
        id=asker.ask(
            "id", suggested_id(method, model, dataset, chosen), check=_require_free(registry)
        ),
        settings=chosen,
        note=note,
    )


def _require_model(name: str) -> None:
    from harness.models import input_size

    input_size(name)


def _require_free(registry: Registry) -> Check:
    def check(id: str) -> None:
        require_id("id", id)
        if id in registry.entries or id in registry.aliases:
            raise RegistryError(f"{id} is already taken")

    return check


def _paper(asker: _Asker, registry: Registry) -> str | Paper:
    key = asker.ask("paper", check=lambda text: require_id("paper", text))
    if key in registry.papers:
        return key
    return Paper(
        key=key,
        title=asker.ask("title"),
        venue=asker.ask("venue"),
        url=asker.ask("url"),
        code=asker.ask("code", "") or None,
        license=asker.ask("paper-license", "none stated"),
        flops_convention=asker.ask("convention", "macs", FLOPS_CONVENTIONS),
    )


def _setting(text: str) -> tuple[str, object]:
    from harness.registry import scalar

    key, mark, value = text.partition("=")
    if not mark or not key:
        raise click.UsageError(f"--set {text!r}: expected KEY=VALUE")
    return key, scalar(value)


def _published(asker: _Asker, given: tuple[str, ...]) -> dict[str, Published]:
    cells: dict[str, Published] = {}
    for text in given:
        name, _, number = text.partition("=")
        cells[_metric(name)] = Published(number, asker.ask("source"))
    while not given and not asker.silent:
        question = f"Published metric ({', '.join(METRICS)}), empty to end"
        name = _typed(question, "", lambda text: text and _metric(text))
        if not name:
            break
        number = _typed("  digits as printed", None, lambda text: Published(text, "to be asked"))
        last = next(reversed(cells.values())).source if cells else None
        cells[_metric(name)] = Published(number, asker.ask("source", last))
    return cells


def _metric(name: str) -> str:
    if not is_metric(name):
        raise click.UsageError(f"no metric is called {name!r}{nearest(name, METRICS)}")
    return name


def _with_checkpoint(
    asker: _Asker,
    draft: EntryDraft,
    links: tuple[str, ...],
    file: Path | None,
    fetch: bool | None,
    folder: Path,
) -> tuple[EntryDraft, Path | None]:
    """The draft with its checkpoint, and the file if it is at hand."""
    from harness.maintenance import fetch_link as fetch_link
    from harness.maintenance import file_facts

    if not links and not asker.silent:
        link = _typed(
            "Link to the checkpoint, empty if none",
            "",
            lambda text: text and Checkpoint((text,), "plain"),
        )
        links = (link,) if link else ()
    if not links:
        if file is not None:
            raise click.UsageError("--file belongs to a checkpoint; say where it lies: --link")
        return draft, None
    checkpoint = Checkpoint(
        sources=links,
        format=asker.ask("format", "plain", FORMATS),
        license=asker.ask("license", "none stated"),
    )
    if file is None and fetch is None:
        fetch = asker.confirm("Fetch it now to compute its hash?")
    if file is None and fetch:
        file = folder / "checkpoint"
        fetch_link(links[0], file)
    if file is None:
        return replace(draft, checkpoint=checkpoint), None
    if not file.is_file():
        raise click.UsageError(f"--file {str(file)!r}: there is no such file")
    sha256, size = file_facts(file, checkpoint.format)
    whole = replace(checkpoint, sha256=sha256, size_bytes=size)
    return replace(draft, checkpoint=whole), file
