"""registry.yaml as frozen, typed entries. Imports nothing heavy: `bench list` lives on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import methods
from harness import paths
from harness.errors import RegistryError
from harness.registry import families, plain_yaml
from harness.registry.entries import Entry, Evaluation, Paper, require_id
from harness.registry.families import EntryPlace
from harness.registry.fields import Fault, from_mapping, nearest
from harness.registry.own_datasets import with_own_datasets
from harness.registry.plain_yaml import Document
from harness.registry.recipes import START_BASELINE, Recipe

V = TypeVar("V")
T = TypeVar("T")

LOCAL = "local"  # paper of a user's own run: nothing published, MACs counted our way
VERSION = 1  # the newest form of the file this code reads
_SECTIONS = (
    "version",
    "papers",
    "external_methods",
    "evaluations",
    "recipes",
    "defaults",
    "families",
    "suites",
    "queues",
)


@dataclass(frozen=True, slots=True)
class Standard:
    """The protocols a user's own run on a data set follows unless told otherwise."""

    evaluation: str
    recipe: str  # training from random initialisation
    finetune: str  # after pruning


@dataclass(frozen=True)
class Registry:
    """Everything the registry files say, checked and cross-referenced."""

    papers: Mapping[str, Paper]
    evaluations: Mapping[str, Evaluation]
    recipes: Mapping[str, Recipe]
    entries: Mapping[str, Entry]  # in the order of the file
    suites: Mapping[str, tuple[str, ...]]  # name -> entry ids
    queues: frozenset[str]  # suites whose entries are trained, one after the other
    defaults: Mapping[str, Standard]  # data set -> protocols of a user's own runs
    external_methods: Mapping[str, str]  # methods of others, that we only evaluate: what they are
    aliases: Mapping[str, str]  # former id -> id

    def get(self, id: str) -> Entry:
        """The entry called `id`, or known under that alias. Raises RegistryError."""
        found = self.entries.get(self.aliases.get(id, id))
        if found is None:
            hint = nearest(id, self.entries)
            msg = f"no entry is called {id!r}{hint} See: bench list"
            raise RegistryError(msg)
        return found

    def suite(self, name: str) -> tuple[Entry, ...]:
        """The entries of a suite, in its order; every paper is one. Raises RegistryError."""
        if name in self.papers and name not in self.suites:
            return self.select(paper=name)
        if name not in self.suites:
            msg = f"no suite is called {name!r}{nearest(name, [*self.suites, *self.papers])}"
            raise RegistryError(msg)
        return tuple(self.entries[id] for id in self.suites[name])

    def select(
        self,
        dataset: str | None = None,
        method: str | None = None,
        model: str | None = None,
        paper: str | None = None,
    ) -> tuple[Entry, ...]:
        """The entries that agree with everything given, in the order of the file."""
        wanted = {"dataset": dataset, "method": method, "model": model, "paper": paper}
        given = [(name, value) for name, value in wanted.items() if value is not None]
        return tuple(
            entry
            for entry in self.entries.values()
            if all(getattr(entry, name) == value for name, value in given)
        )

    def evaluation(self, entry: Entry, on: str | None = None) -> Evaluation:
        """The evaluation of `entry`, or the same preprocessing on the data set `on`.

        Raises RegistryError when no evaluation on `on` prepares pictures in the same way.
        """
        own = self.evaluations[entry.evaluation]
        if on is None or on == own.dataset:
            return own
        there = [other for other in self.evaluations.values() if other.dataset == on]
        for other in there:
            if other.preprocessing == own.preprocessing:
                return other
        known = {other.dataset for other in self.evaluations.values()}
        names = ", ".join(other.name for other in there)
        hint = f"; evaluations there: {names}" if there else nearest(on, known)
        msg = f"{entry.id}: nothing on data set {on!r} prepares pictures as {own.name!r} does{hint}"
        raise RegistryError(msg)

    def convention_of(self, entry: Entry) -> str:
        """FLOPs convention of the entry's paper; plain MACs for a user's own run."""
        return "macs" if entry.paper == LOCAL else self.papers[entry.paper].flops_convention

    def assumed_of(self, entry: Entry, recipe: Recipe) -> str:
        """What of `recipe` the source of `entry` does not say; "" for networks that are our own."""
        own = entry.paper == LOCAL or self.papers[entry.paper].own
        return "" if own else recipe.assumed

    def settings_of(self, entry: Entry) -> dict[str, object]:
        """Method settings of `entry`: those of its recipe, overridden by its own."""
        shared = self.recipes[entry.recipe].settings if entry.recipe else {}
        return {**shared, **entry.settings}


def load(path: Path | None = None, extra: Iterable[Path] = ()) -> Registry:
    """The registry in `path` (default: the one that comes with the code) and the `extra` files.

    With the protocols of the user's own data sets. A process reads the file that comes with the
    code once, and again when it was changed.

    Raises RegistryError with file, line and column: unknown or repeated key, repeated id, dangling
    reference, wrong type, anything that is not plain YAML.
    """
    draft = _begun(Path(path or paths.registry_file()))
    for file in extra:
        draft.add(plain_yaml.read(Path(file)))
    return with_own_datasets(draft.finish())


def _begun(file: Path) -> _Registered:
    """What `file` says, still to be joined by others and checked."""
    if file != paths.registry_file() or not file.is_file():
        return _read(file)
    facts = file.stat()
    return _shipped(file, facts.st_mtime_ns, facts.st_size).copy()


@lru_cache(maxsize=1)
def _shipped(file: Path, mtime_ns: int, size: int) -> _Registered:
    return _read(file)


def _read(file: Path) -> _Registered:
    draft = _Registered()
    draft.add(plain_yaml.read(file))
    return draft


def get(id: str) -> Entry:
    """The entry called `id` in the registry that comes with the code. Raises RegistryError."""
    return load().get(id)


class _Registered:
    """Files are added one by one; references are checked when all are there."""

    def __init__(self) -> None:
        self.papers: dict[str, Paper] = {}
        self.evaluations: dict[str, Evaluation] = {}
        self.recipes: dict[str, Recipe] = {}
        self.external: dict[str, str] = {}
        self.entries: dict[str, Entry] = {}
        self.aliases: dict[str, str] = {}
        self.suites: dict[str, tuple[str, ...]] = {}
        self.defaults: dict[str, Standard] = {}
        self.default_places: list[tuple[Document, str]] = []
        self.origins: dict[str, EntryPlace] = {}
        self.starts: list[tuple[Document, str, str]] = []  # recipes that start from an entry
        self.queues: set[str] = set()
        self.members: list[tuple[Document, str, str, tuple[str, ...]]] = []

    def copy(self) -> _Registered:
        """One that more files can be added to."""
        made = _Registered()
        vars(made).update({name: value.copy() for name, value in vars(self).items()})
        return made

    def add(self, document: Document) -> None:
        _check_top(document)
        for key, value in _section(document, "papers"):
            place = ("papers", key)
            paper = _build(document, place, Paper, _named(document, place, value, "key"))
            _unique(document, place, self.papers)[key] = paper
        for key, value in _section(document, "evaluations"):
            place = ("evaluations", key)
            evaluation = _build(document, place, Evaluation, _named(document, place, value, "name"))
            _unique(document, place, self.evaluations)[key] = evaluation
        for key, value in _section(document, "external_methods"):
            self._add_external(document, key, value)
        for key, value in _section(document, "recipes"):
            self._add_recipe(document, key, value)
        for entry, origin in families.entries(document):
            self._add_entry(entry, origin)
        for key, value in _section(document, "defaults"):
            place = ("defaults", key)
            built = _build(document, place, Standard, value)
            _unique(document, place, self.defaults)[key] = built
            self.default_places.append((document, key))
        for section in ("suites", "queues"):
            for key, value in _section(document, section):
                self._add_suite(document, section, key, value)

    def _add_external(self, document: Document, name: str, text: object) -> None:
        place = ("external_methods", name)
        if name in methods.BUILT_IN:
            raise document.error(place, f"method {name!r} is built in, not external", on_key=True)
        if not isinstance(text, str):
            raise document.error(place, f"expected a description, found {text!r}")
        _unique(document, place, self.external)[name] = text

    def _add_recipe(self, document: Document, name: str, value: object) -> None:
        place = ("recipes", name)
        recipe = _build(document, place, Recipe, _named(document, place, value, "name"))
        _unique(document, place, self.recipes)[name] = recipe
        if recipe.start is not None and recipe.start != START_BASELINE:
            self.starts.append((document, name, recipe.start))

    def _add_entry(self, entry: Entry, origin: EntryPlace) -> None:
        for key, name in (("id", entry.id), *(("aliases", alias) for alias in entry.aliases)):
            first = self.origins.get(name)
            if first is not None:
                where = f"{first.document.name}:{first.mark[0]}"
                raise origin.error(key, f"id {name!r} is already taken (first at {where})")
            self.origins[name] = origin
        self.entries[entry.id] = entry
        self.aliases |= dict.fromkeys(entry.aliases, entry.id)

    def _add_suite(self, document: Document, section: str, name: str, ids: object) -> None:
        place = (section, name)
        if not isinstance(ids, list) or not all(isinstance(id, str) for id in ids):
            raise document.error(place, f"expected a list of entry ids, found {ids!r}")
        for i, id in enumerate(ids):
            if id in ids[:i]:
                raise document.error((*place, i), f"{id!r} appears twice in this suite")
        _unique(document, place, self.suites)[name] = tuple(ids)
        self.members.append((document, section, name, tuple(ids)))
        if section == "queues":
            self.queues.add(name)

    def finish(self) -> Registry:
        """The registry; raises RegistryError for the first reference that leads nowhere."""
        for entry in self.entries.values():
            self._check_references(entry, self.origins[entry.id])
        for document, name, start in self.starts:
            if start not in self.entries:
                msg = f"no entry is called {start!r}{nearest(start, self.entries)}"
                raise document.error(("recipes", name, "start"), msg)
        for document, name in self.default_places:
            self._check_default(document, name)
        belongs: dict[str, list[str]] = {}
        for document, section, name, ids in self.members:
            for i, id in enumerate(ids):
                if id not in self.entries:
                    msg = f"no entry is called {id!r}{nearest(id, self.entries)}"
                    raise document.error((section, name, i), msg)
                if section == "queues" and self.entries[id].recipe is None:
                    msg = f"{id!r} has no recipe, so it cannot wait for its training"
                    raise document.error((section, name, i), msg)
                belongs.setdefault(id, []).append(name)
        entries = {
            id: replace(entry, suites=tuple(belongs[id])) if id in belongs else entry
            for id, entry in self.entries.items()
        }
        return Registry(
            papers=self.papers,
            evaluations=self.evaluations,
            recipes=self.recipes,
            entries=entries,
            suites=self.suites,
            queues=frozenset(self.queues),
            defaults=self.defaults,
            external_methods=self.external,
            aliases=self.aliases,
        )

    def _check_default(self, document: Document, dataset: str) -> None:
        standard = self.defaults[dataset]
        for key, name, known in (
            ("evaluation", standard.evaluation, self.evaluations),
            ("recipe", standard.recipe, self.recipes),
            ("finetune", standard.finetune, self.recipes),
        ):
            if name not in known:
                msg = f"no {key} is called {name!r}{nearest(name, known)}"
                raise document.error(("defaults", dataset, key), msg)
        if self.evaluations[standard.evaluation].dataset != dataset:
            msg = f"evaluation {standard.evaluation!r} is not on {dataset!r}"
            raise document.error(("defaults", dataset, "evaluation"), msg)

    def _check_references(self, entry: Entry, origin: EntryPlace) -> None:
        tables: tuple[tuple[str, str | None, Iterable[str]], ...] = (
            ("paper", entry.paper, self.papers),
            ("evaluation", entry.evaluation, self.evaluations),
            ("recipe", entry.recipe, self.recipes),
            ("baseline", entry.baseline, self.entries),
            *(("also_stated", name, self.evaluations) for name in entry.also_stated),
        )
        for key, name, known in tables:
            if name is not None and name not in known:
                word = {"baseline": "entry", "also_stated": "evaluation"}.get(key, key)
                raise origin.error(key, f"no {word} is called {name!r}{nearest(name, known)}")
        if not self._knows_method(entry.method):
            known = [*methods.names(), *self.external]
            msg = f"no method is called {entry.method!r}{nearest(entry.method, known)}"
            raise origin.error("method", msg)
        for name in (entry.evaluation, *entry.also_stated):
            expected = self.evaluations[name].dataset
            if entry.dataset != expected:
                msg = f"dataset {entry.dataset!r}, but evaluation {name!r} is on {expected!r}"
                raise origin.error("dataset", msg)
        if entry.baseline is not None:
            self._check_baseline(entry, origin)
        elif entry.recipe and self.recipes[entry.recipe].start == START_BASELINE:
            msg = f"recipe {entry.recipe!r} starts from the baseline, but there is no `baseline`"
            raise origin.error("recipe", msg)

    def _knows_method(self, name: str) -> bool:
        # Installed third-party methods are looked up last: that reads every package's metadata.
        return name in methods.BUILT_IN or name in self.external or name in methods.names()

    def _check_baseline(self, entry: Entry, origin: EntryPlace) -> None:
        assert entry.baseline is not None
        baseline = self.entries[entry.baseline]
        if baseline.granularity != "dense" or baseline.dataset != entry.dataset:
            msg = f"baseline {baseline.id!r} is not a dense entry on {entry.dataset!r}"
            raise origin.error("baseline", msg)


def _check_top(document: Document) -> None:
    for key in document.root:
        if key not in _SECTIONS:
            msg = f"unknown section {key!r}{nearest(key, _SECTIONS)}"
            raise document.error((key,), msg, on_key=True)
    version = document.root.get("version")
    if type(version) is not int or version < 1:
        raise document.error(("version",), f"expected `version: {VERSION}`, found {version!r}")
    if version > VERSION:
        msg = f"version {version} is newer than {VERSION}, the newest this program reads; update it"
        raise document.error(("version",), msg)


def _section(document: Document, name: str) -> Iterable[tuple[str, object]]:
    section = document.root.get(name)
    if section is None:
        return ()
    if not isinstance(section, dict):
        raise document.error((name,), f"expected a mapping, found {section!r}")
    return section.items()


def _named(
    document: Document, place: tuple[str, str], value: object, field: str
) -> dict[str, object]:
    """The mapping at `place` with its own key as `field`."""
    if not isinstance(value, dict):
        raise document.error(place, f"expected a mapping, found {value!r}")
    if field in value:
        raise document.error((*place, field), f"`{field}` is the key in front", on_key=True)
    return {field: place[1], **value}


def _unique(document: Document, place: tuple[str, str], known: dict[str, V]) -> dict[str, V]:
    """`known`, after a check that the last step of `place` is a new, well-formed name."""
    section, name = place
    try:
        require_id(name, name)
    except Fault as fault:
        raise document.error(place, fault.problem, on_key=True) from None
    if name in known:
        msg = f"{name!r} is already in `{section}` of another file"
        raise document.error(place, msg, on_key=True)
    return known


def _build(document: Document, place: tuple[str, str], cls: type[T], mapping: object) -> T:
    try:
        return from_mapping(cls, mapping)
    except Fault as fault:
        raise document.error((*place, *fault.path), fault.problem, fault.on_key) from None
