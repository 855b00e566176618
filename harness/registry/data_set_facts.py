"""What is known about a data set before any image is read, and where that is said.

A data set is one file of harness/data/sets/, or an installed entry point of the group
`bench.datasets`. Names are known without importing any of them. A folder of the user's is known by
what was measured about it; images that a script holds are known while it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.errors import RegistryError
from harness.registry.fields import nearest
from harness.system import offered

if TYPE_CHECKING:
    from harness.registry.entries import Evaluation

SETS = "harness.data.sets"  # one file per set: its name, with _ for -
ENTRY_POINTS = "bench.datasets"


@dataclass(frozen=True, slots=True)
class Download:
    """One official file. `unpack` is the folder its archive contains; None = not an archive."""

    url: str
    md5: str
    unpack: str | None = None


@dataclass(frozen=True, slots=True)
class KnownCopy:
    """Content recognised by its fingerprint."""

    name: str
    approximate_images: int | None  # how many may differ from the official ones; None = unknown


@dataclass(frozen=True, slots=True)
class CheckableRows:
    """Rows whose official content is known, by elimination, and what they hash to.

    unknown: rows left out. fingerprint: of all other rows, with their labels.
    """

    unknown: tuple[int, ...]
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """A data set as its authors published it.

    side: pixels, as stored; pictures that differ in size: what they are usually cropped to.
    layout: makes what finds and reads the files, a harness.data.Layout; called when they are
    wanted, so that nothing heavy is imported before. class_names: called likewise; in the order of
    the labels, none where nobody wrote them down.
    """

    name: str
    title: str
    classes: int
    channels: int
    side: int
    images: Mapping[str, int]  # split -> number of images
    layout: Callable[[], Any]
    class_names: Callable[[], tuple[str, ...]] = tuple
    own: bool = False  # a folder of the user's, which nobody published
    streamed: bool = False  # picture files, too large to hold in memory as one tensor
    stand_in: str = ""  # why a number on it is never a reproduction
    page: str = ""  # where a person gets it
    folder: str = ""  # where it belongs below the data root
    downloads: tuple[Download, ...] = ()
    md5: Mapping[str, str] = field(default_factory=dict)  # official file name -> md5
    copies: Mapping[str, KnownCopy] = field(default_factory=dict)  # by fingerprint
    checkable: Mapping[str, CheckableRows] = field(default_factory=dict)  # by split


def registered(**facts: Any) -> Callable[[Callable[[], Any]], DataSet]:
    """Decorator: the data set with these fields, whose layout the function makes."""
    return lambda layout: DataSet(layout=layout, **facts)


_MADE_KNOWN: dict[str, DataSet] = {}


def make_known(about: DataSet) -> None:
    """Make a data set known to this process, in place of an earlier one of that name.

    Raises RegistryError if the name is that of a file, a folder or a package.
    """
    other = _own().every_own().get(about.name)
    if about.name in _files() or about.name in _installed() or (other and other.folder):
        msg = f"data set {about.name!r} is known already"
        raise RegistryError(f"{msg}; give yours another name, such as my-{about.name}")
    _MADE_KNOWN[about.name] = about


def data_set(name: str) -> DataSet:
    """The data set called `name`. Raises RegistryError with the nearest known name."""
    if name in _files():
        return _from_module(name)
    if name in _MADE_KNOWN:
        return _MADE_KNOWN[name]
    installed = _installed()
    if name in installed:
        return _from_entry_point(name, installed[name])
    own: DataSet | None = _own().own_data_set(name)
    if own is not None:
        return own
    raise RegistryError(f"no data set is called {name!r}{nearest(name, data_set_names())}")


def data_set_names() -> tuple[str, ...]:
    """Every data set: ours, then folders of the user's and those of other packages."""
    others = (*_own().own_data_set_names(), *sorted(_MADE_KNOWN), *sorted(_installed()))
    return tuple(dict.fromkeys((*_files(), *others)))


def is_data_set(name: str) -> bool:
    """Whether a data set has that name; other packages are asked last, as that takes time."""
    known_first = name in _files() or name in _MADE_KNOWN
    return known_first or name in _own().own_data_set_names() or name in _installed()


def is_installed_data_set(name: str) -> bool:
    """Whether another package brings the data set."""
    return name not in _files() and name in _installed()


def _own() -> ModuleType:
    from harness.registry import own_datasets  # which needs DataSet

    return own_datasets


@cache
def _files() -> tuple[str, ...]:
    folders = import_module(SETS).__path__
    names = (module.name for module in iter_modules(folders))
    return tuple(sorted(name.replace("_", "-") for name in names))


@cache
def _from_module(name: str) -> DataSet:
    module = import_module(f"{SETS}.{name.replace('-', '_')}")
    (found,) = (value for value in vars(module).values() if isinstance(value, DataSet))
    assert found.name == name, f"{module.__name__} registers {found.name!r}"
    return found


@cache
def _installed() -> Mapping[str, tuple[str, ...]]:
    return offered(ENTRY_POINTS)


@cache
def _from_entry_point(name: str, targets: tuple[str, ...]) -> DataSet:
    if len(targets) > 1:
        msg = f"data set {name!r} is offered by {' and '.join(targets)}"
        raise RegistryError(f"{msg}; uninstall the package that is not meant")
    (target,) = targets
    module, _, attribute = target.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a stranger's package: it may raise anything
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        msg = f"data set {name!r} is installed as {target}, which cannot be imported: {reason}"
        raise RegistryError(f"{msg}. Reinstall or remove the package that names it") from error
    if not isinstance(found, DataSet) or found.name != name:
        msg = f"data set {name!r} is installed as {target}, which is {found!r:.60}"
        raise RegistryError(f"{msg}, not a harness.registry.DataSet of that name")
    return found


# Fixed, because the order of float sums depends on it; part of the evaluation protocol.
EVALUATION_BATCH = 250


def input_shape(evaluation: Evaluation) -> tuple[int, int, int]:
    """(C,H,W) of one preprocessed image."""
    about = data_set(evaluation.dataset)
    side = evaluation.crop or evaluation.resize or about.side
    channels = 1 if evaluation.channels == "gray" else about.channels
    return channels, side, side
