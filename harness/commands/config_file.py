"""--config FILE: the options of a command from a YAML file, as strictly typed as on the line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from harness.commands.visible_text import say_line

if TYPE_CHECKING:
    from harness.registry import Document

F = TypeVar("F", bound=Callable[..., Any])

PAIRS = ("set", "model-args")  # a mapping in the file, KEY=VALUE on the command line
_LEFT_OUT = ("config", "help")


def config(command: F) -> F:
    """--config FILE, whose values stand where the command line says nothing.

    Outermost of the command's decorators but for click's own: it sees every option as click does.
    """

    @wraps(command)
    def called(*, config: Path | None, **values: Any) -> Any:
        if config is not None:
            _join(click.get_current_context(), values)
        return command(**values)

    option = click.option(
        "--config",
        is_eager=True,
        callback=_read,
        type=click.Path(path_type=Path, dir_okay=False),
        help="YAML file with values for these options, such as a run's run.yaml; what is typed "
        "here wins.",
    )
    return option(called)  # type: ignore[return-value]  # click only calls it by keywords


def _read(ctx: click.Context, parameter: click.Parameter, file: Path | None) -> Path | None:
    """Make the file's values the defaults of all other options."""
    if file is None:
        return None
    document = _document(file)
    options = {_key(option): option for option in ctx.command.params if _key(option)}
    ctx.default_map = {
        str(options[key].name): _checked(document, key, value, options[key], ctx)
        for key, value in _known(document, options)
    }
    return file


def _document(file: Path) -> Document:
    from harness.errors import RegistryError
    from harness.registry import plain_yaml

    example = "a line for each option, such as method: gmp"
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        msg = f"--config {file}: {reason}. Give a YAML file with {example}"
        raise RegistryError(msg) from error
    if not isinstance(plain_yaml.parse(text, str(file)), dict):
        raise RegistryError(f"--config {file}: expected {example}")
    return plain_yaml.document(text, str(file))


def _known(document: Document, options: Mapping[str, click.Parameter]) -> list[tuple[str, Any]]:
    from harness.registry import nearest

    for key in document.root:
        if key not in options:
            msg = f"no option is called {key!r}{nearest(key, options)}"
            raise document.error((key,), msg, on_key=True)
    return list(document.root.items())


def _key(option: click.Parameter) -> str:
    """The option's name in a file; "" for what a file does not say."""
    names = [name for name in option.opts if name.startswith("--")]
    key = names[0].removeprefix("--") if names else ""
    return "" if key in _LEFT_OUT else key


def _checked(
    document: Document, key: str, value: object, option: click.Parameter, ctx: click.Context
) -> Any:
    """`value` as the texts that click would read; RegistryError with its place if it is wrong."""
    try:
        texts = _pairs(value) if key in PAIRS else _texts(value, option)
        option.type_cast_value(ctx, texts)
    except (click.BadParameter, TypeError) as error:
        said = error.message if isinstance(error, click.BadParameter) else str(error)
        raise document.error((key,), f"{key}: {said}") from error
    return texts


def _pairs(value: object) -> list[str]:
    from harness.registry import assignment

    if not isinstance(value, dict):
        raise TypeError(f"expected a mapping such as {{epochs: 3}}, found {value!r}")
    return [assignment(key, each) for key, each in value.items()]


def _texts(value: object, option: click.Parameter) -> Any:
    if option.multiple or option.nargs != 1:
        if not isinstance(value, list):
            raise TypeError(f"expected a list, found {value!r}")
        return [_text(each, option.type) for each in value]
    return _text(value, option.type)


def _text(value: object, kind: click.ParamType) -> Any:
    """A value of the option's own type. Raises TypeError for another: "3" is no number."""
    numbers = isinstance(value, int | float) and not isinstance(value, bool)
    fits: dict[type[click.ParamType], tuple[bool, str]] = {
        click.types.BoolParamType: (isinstance(value, bool), "true or false"),
        click.types.FloatParamType: (numbers, "a number"),
        click.types.IntParamType: (numbers and isinstance(value, int), "a whole number"),
        click.types.StringParamType: (isinstance(value, str), "a text"),
        click.types.Path: (isinstance(value, str), "a path"),
    }
    for known, (right, wanted) in fits.items():
        if isinstance(kind, known):
            if not right:
                raise TypeError(f"expected {wanted}, found {value!r}")
            return value
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise TypeError(f"expected a text, found {value!r}")
    return str(value)


def _join(ctx: click.Context, values: dict[str, Any]) -> None:
    """Say what the command line changes of the file; KEY=VALUE pairs are joined one by one."""
    for option in ctx.command.params:
        name = str(option.name)
        if not ctx.default_map or name not in ctx.default_map:
            continue
        before = ctx.default_map[name]
        if ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        if _key(option) in PAIRS:
            values[name] = (*_unchanged(before, values[name], _key(option)), *values[name])
        elif str(values[name]) != str(before):
            _say(_key(option), values[name], before)


def _unchanged(before: list[str], typed: tuple[str, ...], key: str) -> list[str]:
    now = dict(text.partition("=")[::2] for text in typed)
    for text in before:
        name, _, value = text.partition("=")
        if name in now and now[name] != value:
            _say(f"{key} {name}", now[name], value)
    return [text for text in before if text.partition("=")[0] not in now]


def _say(name: str, now: object, before: object) -> None:
    say_line(f"--{name} is {now} as typed, not {before} as in the file", err=True)
