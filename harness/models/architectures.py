"""How an architecture gets its names: one decorator in its own file, or an entry point.

A new file in this folder with `@architecture(...)` is all that a new network of ours needs; a
network of somebody else's package is an entry point of the group `bench.models`. Which names there
are is read from the text of the files, so that asking for them imports no torch.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.errors import RegistryError
from harness.system import offered

if TYPE_CHECKING:
    from torch import nn

ENTRY_POINTS = "bench.models"

Builder = TypeVar("Builder", bound="Callable[..., nn.Module]")


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """What an architecture reads and answers by default."""

    num_classes: int
    input_size: int  # pixels per side
    in_channels: int = 3


CIFAR = PictureFormat(num_classes=10, input_size=32)
IMAGENET = PictureFormat(num_classes=1000, input_size=224)
IMAGENET_CAFFE = PictureFormat(num_classes=1000, input_size=227)
DIGITS = PictureFormat(num_classes=10, input_size=8, in_channels=1)
MNIST = PictureFormat(num_classes=10, input_size=28, in_channels=1)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network: `make(num_classes=, in_channels=, **fixed, **options)` and its format."""

    make: Callable[..., nn.Module]
    format: PictureFormat
    fixed: Mapping[str, object]  # what makes this name differ from its siblings


_REGISTERED: dict[str, Architecture] = {}


def architecture(
    data_format: PictureFormat, /, **variants: Mapping[str, object]
) -> Callable[[Builder], Builder]:
    """A decorator that makes a class or builder reachable under one or more names.

    variants: name -> keyword arguments that this name fixes. The builder is called as
    builder(num_classes=, in_channels=, **fixed, **options). The names are spelled out, since
    `own_names` reads them without running the file.
    Raises RegistryError when a name is taken already.
    """

    def remember(builder: Builder) -> Builder:
        taken = sorted(_REGISTERED.keys() & variants.keys())
        if taken:
            raise RegistryError(
                f"model name {', '.join(map(repr, taken))} is registered twice; two builders "
                "cannot share a name, choose another one for the second"
            )
        _REGISTERED.update(
            (name, Architecture(builder, data_format, fixed)) for name, fixed in variants.items()
        )
        return builder

    return remember


def own_names() -> list[str]:
    """Names of the project's own architectures and of installed packages' ones, sorted.

    Besides these, `build` takes every name of `torchvision.models.list_models(module=
    torchvision.models)`, every name of `timm.list_models()`, and `timm/NAME` for timm's version
    of a name that torchvision has too.
    """
    return sorted({*_REGISTERED, *_declared(), *installed()})


def registered(name: str) -> Architecture | None:
    """The architecture of one of the project's files called `name`; None if no file has it."""
    if name not in _REGISTERED and name in _declared():
        import_module(_declared()[name])
    return _REGISTERED.get(name)


def installed() -> dict[str, tuple[str, ...]]:
    """Name -> "package.module:Class" of what installed packages offer; several if they disagree."""
    return offered(ENTRY_POINTS)


@cache
def _declared() -> dict[str, str]:
    """Name -> module whose decorator registers it, for every file of this folder."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        text = file.read_text(encoding="utf-8")
        if f"@{architecture.__name__}(" in text:
            module = f"{__package__}.{file.stem}"
            found.update({name: module for name in _decorated(ast.parse(text))})
    return found


def _decorated(tree: ast.Module) -> list[str]:
    """The names in the decorators of a file's classes and functions."""
    return [
        keyword.arg
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        for call in node.decorator_list
        if isinstance(call, ast.Call) and ast.unparse(call.func) == architecture.__name__
        for keyword in call.keywords
        if keyword.arg is not None
    ]
