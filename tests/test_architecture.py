"""The house stands: arrows point down, no circles, start-up stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "torchvision", "timm", "fvcore", "mlflow", "pandas", "matplotlib", "sklearn")
LIGHT = (
    "cli",
    "harness",
    "harness.checkpoints",
    "harness.data",
    "harness.errors",
    "harness.models",
    "harness.paths",
    "harness.registry",
    "harness.reports.claims",
    "harness.reports.table.row_cache",
    "harness.reports.table.leaderboard",
    "harness.reports.site",
    "harness.reports.printed_verdicts",
    "harness.reports.table.terminal",
    "harness.results.schema",
    "harness.results.tolerances",
    "harness.results.verdicts",
    "methods",
)


@cache
def modules() -> dict[str, Path]:
    files = [ROOT / "cli.py"]
    files += [p for top in ("harness", "methods") for p in (ROOT / top).rglob("*.py")]
    names = {}
    for file in files:
        parts = file.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return names


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@cache
def nodes_of(file: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(tree(file)))


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, Any]]:
    """(module, node) of every node of that kind in our modules."""
    for name, file in modules().items():
        yield from ((name, node) for node in nodes_of(file) if isinstance(node, kind))


@cache
def imports(name: str, everywhere: bool) -> set[str]:
    """Our modules that module `name` imports: at the top level, or anywhere in it."""
    known = modules()
    file = known[name]
    for_types: set[ast.AST] = set()  # what only type checkers see is no import
    for node in nodes_of(file):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for_types.update(node.body)
    found: set[str] = set()
    for node in nodes_of(file) if everywhere else tree(file).body:
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` needs the module, not what the package re-exports.
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if names <= known.keys() else {node.module, *names}
    return found & known.keys()


@pytest.mark.parametrize(
    ("lower", "upper"),
    [("methods", "harness"), ("methods", "cli"), ("harness", "cli")],
)
def test_lower_floors_never_import_upper_ones(lower: str, upper: str) -> None:
    wrong = [
        f"{name} imports {target}"
        for name in modules()
        if name.split(".")[0] == lower
        for target in imports(name, everywhere=True)
        if target.split(".")[0] == upper
    ]
    assert wrong == []


# The rooms of harness/ from top to bottom, under cli.py; errors and paths are the ground.
FLOORS = (
    "cli",
    "commands",
    "maintenance",
    "reports",
    "launch",
    "export",
    "training",
    "evaluation",
    "profile",
    "checkpoints",
    "results",
    "data",
    "sparse",
    "models",
    "registry",
    "system",
    "errors",
    "paths",
)


def room(name: str) -> str:
    """The room of one of our modules; "" for `harness` itself and for methods."""
    top, *inner = name.split(".")
    return "cli" if top == "cli" else inner[0] if top == "harness" and inner else ""


def arrows() -> list[tuple[str, str]]:
    """(module, what it imports) between two rooms, wherever in the file the import stands."""
    return [
        (name, target)
        for name in modules()
        for target in imports(name, everywhere=True)
        if room(name) and room(target) and room(name) != room(target)
    ]


def test_every_part_of_harness_is_a_room_on_a_floor() -> None:
    assert {room(name) for name in modules()} - {""} == set(FLOORS)


def test_imports_between_rooms_run_down() -> None:
    up = [(a, b) for a, b in arrows() if FLOORS.index(room(b)) <= FLOORS.index(room(a))]
    assert up == []


def test_rooms_are_entered_by_the_door() -> None:
    """`from harness.results import save`, never from a file inside; verbs alone go by name."""
    inside = [
        f"{name}: from {node.module}"
        for name, node in nodes(ast.ImportFrom)
        if (node.module or "").count(".") >= 2
        and node.module.startswith("harness.")
        and room(node.module) != room(name)
    ]
    assert inside == []


@pytest.mark.parametrize("file", sorted((ROOT / "harness").glob("*/__init__.pyi")), ids=str)
def test_what_a_room_exports_is_there_and_hides_no_file(file: Path) -> None:
    from importlib import import_module

    package = import_module(f"harness.{file.parent.name}")
    files = {inner.stem for inner in file.parent.glob("*.py")}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert getattr(package, alias.name) is not None
                assert node.module is None or alias.name not in files


def test_modules_form_no_circle() -> None:
    known = modules()
    graph = {name: imports(name, everywhere=False) - {name} for name in known}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"circle: {' -> '.join(error.args[1])}")
    assert len(order) == len(known)


def test_modules_are_light() -> None:
    """In one process: the first name that is printed is the module that brings a heavy one."""
    code = (
        "import sys\nfrom importlib import import_module\n"
        f"for name in {LIGHT}:\n"
        "    import_module(name)\n"
        f"    print(name, [m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines() == [f"{name} []" for name in LIGHT]


def test_no_file_outgrows_its_reason() -> None:
    long = {n: len(f.read_text().splitlines()) for n, f in modules().items()}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_one_file_writes_to_the_terminal() -> None:
    """`say` and `console` escape what a terminal would obey; whoever prints past them does not."""
    past = ("click.echo", "click.secho", "print", "Console", "sys.stdout.write", "sys.stderr.write")
    here = ("harness.commands.visible_text", "harness.commands.output", "harness.profile.memory")
    wrong = [
        f"{name}:{node.lineno}: {ast.unparse(node.func)}"
        for name, node in nodes(ast.Call)
        if name not in here and ast.unparse(node.func) in past
    ]
    shown_by_click = [line for line in wrong if line.startswith("cli:")]
    assert [line for line in wrong if line not in shown_by_click] == []
    assert len(shown_by_click) == 1


def test_no_class_name_says_two_things() -> None:
    places: dict[str, list[str]] = {}
    for name, node in nodes(ast.ClassDef):
        places.setdefault(node.name, []).append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_functions_stay_short() -> None:
    found = [*nodes(ast.FunctionDef), *nodes(ast.AsyncFunctionDef)]
    lines = {f"{name}.{node.name}": node.end_lineno - node.lineno + 1 for name, node in found}
    assert {name: count for name, count in lines.items() if count > 60} == {}
