"""Help, wrong words, light start-up."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import click
import pytest

from cli import _VERBS, Bench, main
from harness.commands.machine_problems import machine_problem, memory_errors_said_once
from tests.commands.conftest import Bench as Run

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = {"out", "into", "junit", "plot", "target"}  # paths a command writes to
HEAVY = ("torch", "torchvision", "timm", "fvcore", "mlflow", "pandas")


def commands() -> dict[str, click.Command]:
    """Every command by what is typed after `bench`."""
    context = click.Context(main)
    assert isinstance(main, Bench)
    found: dict[str, click.Command] = {}
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found |= {f"{name} {sub}": c for sub, c in command.commands.items()}
        else:
            found[name] = command
    return found


COMMANDS = commands()


@pytest.mark.parametrize("words", [*COMMANDS, "registry"])
def test_every_command_has_help(bench: Run, words: str) -> None:
    done = bench(*words.split(), "--help")
    assert done.exit_code == 0
    assert f"Usage: main {words} [" in done.stdout
    assert bench(*words.split(), "-h").stdout == done.stdout


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_shows_an_example_that_it_accepts(words: str) -> None:
    epilog = COMMANDS[words].epilog or ""
    match = re.match(r'Example:  (?:eval "\$\()?bench ([^()]+)', epilog)
    assert match, epilog
    typed = shlex.split(match[1].rstrip(')" '))
    assert typed[: len(words.split())] == words.split()
    # Raises if it does not parse.
    # Below `bench`, or click keeps for the whole process that this verb knows no -h.
    parent = click.Context(main, **main.context_settings)
    context = COMMANDS[words].make_context(words, typed[len(words.split()) :], parent=parent)
    for param in COMMANDS[words].params:  # a stranger can type it: no file of somebody's own
        if isinstance(param.type, click.Path) and param.name not in WRITTEN:
            value = context.params[str(param.name)] or ()
            for file in value if isinstance(value, tuple) else (value,):
                assert (ROOT / file).is_file(), file


@pytest.mark.parametrize("words", COMMANDS)
def test_every_option_is_explained(words: str) -> None:
    options = [p for p in COMMANDS[words].params if isinstance(p, click.Option)]
    unexplained = {p.name for p in options if not p.help} - {"port", "rounds"}
    assert unexplained == set()


def test_the_overview_names_every_verb_in_whole_sentences(bench: Run) -> None:
    done = bench("--help", COLUMNS="80")
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.startswith("  ")}
    assert set(_VERBS) <= set(lines)
    assert not any(line.endswith("...") for line in done.stdout.splitlines()[1:])


def test_the_overview_says_what_each_command_says_of_itself() -> None:
    context = click.Context(main)
    assert isinstance(main, Bench)
    for verb, told in _VERBS.items():
        command = main.get_command(context, verb)
        assert command is not None
        assert (command.help or "").partition("\n")[0] == told


def loaded_after(*arguments: str, first: str = "", modules: Iterable[str] = HEAVY) -> str:
    """Which of `modules` `bench ARGUMENTS` imported, in a process of its own."""
    code = (
        f"{first}\nimport sys\n"
        "from cli import main\n"
        f"try: main({list(arguments)!r})\n"
        "except SystemExit as stop: assert not stop.code, stop.code\n"
        f"print('LOADED', sorted({set(modules)!r} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("list",),
        ("list", "--json"),
        ("show", "acdc-resnet50-90"),
        ("table",),
        ("reproduce", "--help"),
    ],
)
def test_light_commands_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert loaded_after(*arguments) == "LOADED []"


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("list",), ("list", "--json")])
def test_the_first_commands_do_not_even_load_pydantic(arguments: tuple[str, ...]) -> None:
    assert loaded_after(*arguments, modules=("pydantic",)) == "LOADED []"


def test_the_search_for_heavy_modules_finds_them() -> None:
    assert loaded_after("--help", first="import pandas") == "LOADED ['pandas']"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("lst",), "no command is called 'lst'. Did you mean 'list'?"),
        (("xyzzy",), "no command is called 'xyzzy'."),
        (("list", "--colour"), "No such option '--colour'"),
        (("--colour",), "No such option '--colour'"),
        (("show",), "Missing argument 'ID'"),
        (("registry", "chek"), "No such command 'chek'"),
        (("table", "--sort", "age"), "'age' is not one of"),
        (("completion", "tcsh"), "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
        (("pull",), "Missing argument"),
    ],
)
def test_a_wrong_word_exits_with_two_and_one_line(
    bench: Run, arguments: tuple[str, ...], told: str
) -> None:
    done = bench(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("bench: ")
    assert told in line
    assert line.endswith("--help")


def test_bench_alone_shows_its_help(bench: Run) -> None:
    done = bench()
    assert "Usage:" in done.output
    assert "reproduce" in done.output


def test_the_version_is_told(bench: Run) -> None:
    done = bench("--version")
    assert done.exit_code == 0
    assert re.fullmatch(r"bench, version \d+\.\d+\S*\n", done.stdout)


def test_a_torchvision_of_another_torch_is_one_line(
    bench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("harness.checkpoints.network.build", broken)
    done = bench("profile", "dense-resnet20-cifar10", "--dense")
    assert done.exit_code == 1
    [line] = [text for text in done.stderr.splitlines() if text.startswith("bench: ")]
    assert re.search(r"torchvision \d\S+ was built for another torch than \d", line)
    assert "pip install -U torch torchvision" in line


def test_a_home_that_cannot_be_written_is_one_line(bench: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    assert bench("list", BENCH_HOME=str(home)).exit_code == 0  # it writes nothing
    done = bench("pull", "dense-convnet-tiny-digits", BENCH_HOME=str(home))
    assert done.exit_code == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"bench: the home folder {home} cannot be written: ")
    assert "BENCH_HOME" in line


def test_an_error_elsewhere_is_not_put_down_to_the_home(bench: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "x"
    done = bench("export", "dense-convnet-tiny-digits", place, "--to", "safetensors")
    assert done.exit_code == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"bench: {place.parent}: ") and "home" not in line


def test_a_question_without_an_answer_is_one_line(bench: Run) -> None:
    done = bench("registry", "add")
    assert done.exit_code == 5
    assert done.stderr.splitlines()[-1] == (
        "bench: stopped by Ctrl-C, or left without an answer. The same command begins again"
    )


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "no room left to write: No space left on device"),
        (OSError(27, "File too large"), "no room left to write: File too large"),
        (ValueError("I/O error: No space left on device (os error 28)"), "no room left to write: "),
        (MemoryError(), "not enough memory: "),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory: "),
        (OSError(13, "Permission denied", "/x/y"), "/x/y: Permission denied. Name a place"),
    ],
)
def test_a_limit_of_the_machine_is_one_line(
    monkeypatch: pytest.MonkeyPatch, bench: Run, error: Exception, line: str
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("as torch hides it") from cause

    monkeypatch.setattr("harness.checkpoints.network.build", broken)
    done = bench("profile", "dense-convnet-tiny-digits")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith(f"bench: {line}")


@pytest.mark.parametrize("limited", [True, False])
def test_an_error_that_may_mean_no_memory_means_it_under_a_limit(
    monkeypatch: pytest.MonkeyPatch, limited: bool
) -> None:
    resource = pytest.importorskip("resource", reason="no such limits on this system")
    most = 10**9 if limited else resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (most, most))
    for error in (
        RuntimeError("could not create a primitive"),
        SystemError("error return without exception set"),
    ):
        said = machine_problem(error)
        assert (said is not None and said.startswith("not enough memory: ")) == limited


def test_a_memory_error_that_nobody_can_raise_is_not_printed_beside_the_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unraised(error: type[Exception]) -> None:
        class Ends:
            def __del__(self) -> None:
                raise error

        Ends()

    said: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda found: said.append(found.exc_type))
    with memory_errors_said_once():
        unraised(MemoryError)
        unraised(ValueError)
    unraised(MemoryError)
    assert said == [ValueError, MemoryError]


def test_an_unexpected_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch, bench: Run) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr("harness.checkpoints.network.build", broken)
    with pytest.raises(RuntimeError, match="something else"):
        bench("profile", "dense-resnet20-cifar10", "--dense")
