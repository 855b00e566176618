"""A network in code of one's own: `package.module:Class` or `path/to/file.py:Class`.

Importing a file runs it, so it happens for two kinds of names only: one that the user typed
(`import_typed`), and one that an installed package offers under `bench.models`. A name of this
form in a registry, a checkpoint or a result is looked up here and never imported. A network that a
script holds is copied instead (`hold`).
"""

from __future__ import annotations

import copy
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from harness.errors import RegistryError
from harness.models.architectures import installed, registered
from harness.models.model_names import ModelName, parse_model_name
from harness.system import sha256_file, sha256_json

if TYPE_CHECKING:
    from torch import nn

# What builders of other people call these three.
CLASSES = ("num_classes", "n_classes", "classes", "num_outputs")
CHANNELS = ("in_channels", "in_chans", "input_channels", "channels")
SIDE = ("image_size", "img_size", "input_size")


@dataclass(frozen=True, slots=True)
class OwnCode:
    """A class or function that makes a network, and the hash of what decides it: of its file."""

    make: Callable[..., nn.Module]
    source_sha256: str
    typed: str  # what names it from any folder: a file with its whole path, or package.module:Class

    def accepts(self, names: tuple[str, ...]) -> str | None:
        """The first of `names` that is a parameter of the builder."""
        try:
            parameters = inspect.signature(self.make).parameters
        except (TypeError, ValueError):
            return None
        return next((name for name in names if name in parameters), None)

    def build(
        self, num_classes: int | None, in_channels: int | None, **options: object
    ) -> nn.Module:
        """The network; classes and channels are handed over where the builder takes them."""
        for names, value in ((CLASSES, num_classes), (CHANNELS, in_channels)):
            parameter = self.accepts(names)
            if parameter is not None and value is not None:
                options.setdefault(parameter, value)
        return self.make(**options)


_IMPORTED: dict[str, OwnCode] = {}


def is_own_code(base: str) -> bool:
    """Whether the name before the bracket has the form `package.module:Class`."""
    return ":" in base


def import_typed(typed: str) -> str:
    """Import what the user typed; the name it has from now on, a file's without its folders.

    Raises RegistryError if the file or module is not there, fails, or lacks the class.
    """
    place, _, attribute = typed.rpartition(":")
    if not place or not attribute.isidentifier():
        raise RegistryError(
            f"model {typed!r}: expected package.module:Class or path/to/file.py:Class"
        )
    name = anywhere = typed
    if place.endswith(".py"):
        file = Path(place).expanduser()
        name, anywhere = f"{file.name}:{attribute}", f"{file.resolve()}:{attribute}"
        module = _imported(typed, lambda: _module_of(file))
    else:
        module = _imported(typed, lambda: _importable(place))
    _IMPORTED[name] = _code(typed, module, attribute, anywhere)
    return name


def is_untyped(name: str) -> bool:
    """Whether the network `name` is a file's or module's that the user has not named yet."""
    base = parse_model_name(name).base
    return is_own_code(base) and base not in _IMPORTED


def hold(given: nn.Module | Callable[..., nn.Module]) -> str:
    """Have `build` make networks of what a script holds; the name that it is built by.

    given: a class or function, or a network, of which copies are made with the weights that it has
    then. Beside its file, the hash covers what else decides the network: layers, bound arguments.
    """
    from torch import nn

    what: Any = given
    bound = ""
    if isinstance(given, nn.Module):
        what, bound = type(given), repr(given)
    elif isinstance(given, partial):
        what, bound = given.func, f"{given.args} {given.keywords}"
    elif inspect.isfunction(given) and given.__closure__:
        bound = repr(dict(inspect.getclosurevars(given).nonlocals))
    name = f"{what.__module__}:{what.__qualname__}"
    source = _source_of(what)
    of_file = sha256_file(Path(source)) if source and Path(source).is_file() else ""
    make = (lambda: copy.deepcopy(given)) if isinstance(given, nn.Module) else given
    _IMPORTED[name] = OwnCode(make, sha256_json([of_file, bound]) if bound else of_file, name)
    return name


def own_code(base: str) -> OwnCode | None:
    """The code called `base`: installed, or typed before. None for names of other forms.

    Raises RegistryError for code that nobody typed.
    """
    if base in _IMPORTED:
        return _IMPORTED[base]
    targets = installed().get(base, ())
    if targets and registered(base) is None and not _in_a_library(base):
        return _of_package(base, targets)
    if is_own_code(base):
        where = "path/to/" if ".py:" in base else ""
        raise RegistryError(
            f"model {base!r} is code of one's own, which runs only where it is named on the "
            f"command line: add --model {where}{base}"
        )
    return None


def _of_package(base: str, targets: tuple[str, ...]) -> OwnCode | None:
    if len(targets) > 1:
        raise RegistryError(
            f"model {base!r} is offered by {' and '.join(targets)}; uninstall the package that is "
            "not meant, or name the one that is: --model package.module:Class"
        )
    (target,) = targets
    place, _, attribute = target.partition(":")
    try:
        module = import_module(place)
    except (Exception, SystemExit) as error:  # a stranger's package: it may raise anything
        raise RegistryError(
            f"model {base!r} is installed as {target}, which cannot be imported: {_said(error)}. "
            "Reinstall or remove its package"
        ) from error
    if registered(base) is None:  # its file may have used our decorator
        _IMPORTED[base] = _code(target, module, attribute, base)
    return _IMPORTED.get(base)


def _in_a_library(base: str) -> bool:
    """Whether torchvision or timm has a network of that name, which no package replaces."""
    import timm
    import torchvision

    return base in torchvision.models.list_models(module=torchvision.models) or timm.is_model(base)


def source_sha256(name: str) -> str | None:
    """Hash of the file behind a network; None for those of the project and its libraries."""
    found = own_code(parse_model_name(name).base)
    return None if found is None else found.source_sha256


def typed_name(name: str) -> str:
    """The network `name` as it can be typed in any folder; names that are no code stay as they are.

    Raises RegistryError for code that nobody typed.
    """
    parsed = parse_model_name(name)
    code = own_code(parsed.base) if is_own_code(parsed.base) else None
    return name if code is None else str(ModelName(code.typed, parsed.arguments))


def _importable(place: str) -> ModuleType:
    """`bench` is a script, so the folder it is called from is not on Python's path yet."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return import_module(place)


def _module_of(file: Path) -> ModuleType:
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # it may import its neighbours
    name = f"own_code_{file.stem}"
    spec = spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None, "the name ends in .py"
    module = module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look there
    spec.loader.exec_module(module)
    return module


def _imported(base: str, load: Callable[[], ModuleType]) -> ModuleType:
    try:
        return load()
    except (Exception, SystemExit) as error:  # a stranger's file: it may raise anything
        place = base.rpartition(":")[0]
        hint = "" if place.endswith(".py") else "; a file is named with its ending: file.py:Class"
        raise RegistryError(
            f"model {base!r}: importing {place} failed: {_said(error)}{hint}"
        ) from error


def _code(base: str, module: ModuleType, attribute: str, anywhere: str) -> OwnCode:
    make = getattr(module, attribute, None)
    if not callable(make):
        offered = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        near = get_close_matches(attribute, offered, n=3) or offered[:3]
        raise RegistryError(
            f"model {base!r}: {base.rpartition(':')[0]} has no class or function {attribute!r}; "
            f"it has {', '.join(near) or 'none'}"
        )
    source = _source_of(make) or module.__file__
    return OwnCode(make, "" if source is None else sha256_file(Path(source)), anywhere)


def _source_of(make: Callable[..., Any]) -> str | None:
    try:
        return inspect.getsourcefile(make)
    except TypeError:  # a builtin, an instance with __call__
        return None


def build_own_code(name: str, code: OwnCode, options: Mapping[str, Any]) -> nn.Module:
    """What the builder of `name` gives. Raises RegistryError if it fails or gives no module."""
    from torch import nn
    from torch.nn.parameter import is_lazy

    try:
        made = code.build(**options)
    except (Exception, SystemExit) as error:  # a stranger's code
        raise RegistryError(f"model {name!r} cannot be built: {_said(error)}") from error
    if not isinstance(made, nn.Module):
        raise RegistryError(
            f"model {name!r} gives a {type(made).__name__}, not a torch.nn.Module: name the class, "
            "or a function that returns the network"
        )
    lazy = next((key for key, each in made.named_parameters() if is_lazy(each)), None)
    if lazy is not None:
        raise RegistryError(
            f"model {name!r}: the size of {lazy} is left open until the first picture (a lazy "
            "layer); give it in the code, or take it as an argument such as image_size"
        )
    return made


def _said(error: BaseException) -> str:
    """An error of other people's code in one line, with the place in it."""
    text = " ".join(str(error).split())[:200] or "no message"
    last = traceback.extract_tb(error.__traceback__)[-1]
    ours = last.filename == __file__ or last.filename.startswith("<frozen")
    place = "" if ours else f" (line {last.lineno} of {Path(last.filename).name})"
    return f"{type(error).__name__}: {text}{place}"
