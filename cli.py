"""The `bench` command: parse, call the harness, print, exit. One file per verb.

stdout carries the result, stderr progress and logs. Exit codes: 0 fine, 1 unexpected, 2 usage or
registry, 3 a verdict failed or drifted, 4 something cannot be checked (file or data missing),
5 stopped by SIGTERM or Ctrl-C after saving (run the same command to continue).

Under torchrun every process runs the command; the first one prints, and torchrun's own exit code
is 1 when any of them stops early.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import click


def _shadowed() -> str | None:
    """Which foreign folder Python found in place of our packages; None if it found ours."""
    for name in ("harness", "methods"):
        spec = find_spec(name)
        places = [Path(p).resolve() for p in (spec and spec.submodule_search_locations) or ()]
        if places and Path(__file__).resolve().parent / name not in places:
            return (
                f"{places[0]} hides the package {name!r} that bench needs. Run bench from another "
                "folder, take that one off PYTHONPATH, or rename it"
            )
    return None


try:
    from harness.commands import (
        UNEXPECTED,
        USAGE,
        exit_code,
        lost_output,
        machine_problem,
        memory_errors_said_once,
        problem_line,
        say_line,
        say_problem,
        speak_for_libraries,
        watched_streams,
    )
    from harness.errors import BenchError, Preempted
except ImportError as error:
    if (_told := _shadowed()) is None:
        raise
    raise SystemExit(f"bench: {_told}") from error  # exit code 1, the line on stderr

# Verb, and module of harness/commands -> what it does, so that the overview loads none of them.
_VERBS = {
    "list": "Entries of the registry, with file status and last verdict.",
    "show": "Everything about one entry.",
    "pull": "Obtain, verify and convert published checkpoints.",
    "reproduce": "Published against measured, with a verdict and its reason.",
    "eval": "Evaluate weights of your own by a published protocol.",
    "train": "Train with any method under a standardized protocol.",
    "prune": "Prune a dense network, at once or in rounds.",
    "sweep": "Train a grid of methods, settings, networks and data sets.",
    "runs": "Every run: state, progress, place; resume, cancel, delete.",
    "estimate": "Savings to expect before any training.",
    "export": "Hand out weights, published or trained here.",
    "push": "Write a network with its card for a model hub, and upload it.",
    "profile": "Parameters, zeros and MACs per layer.",
    "latency": "Time dense and pruned networks in turns.",
    "allocation": "Layer rates chosen by rate-distortion and four other rules.",
    "shrink": "Write a network without some channels, and time both.",
    "compress": "Bytes of every layer after each stage of Deep Compression.",
    "table": "The leaderboard, from stored results only.",
    "plot": "Draw accuracy against MACs, parameters, sparsity, size or latency.",
    "compare": "Compare two results image by image.",
    "claims": "How many published figures hold, and how many links.",
    "report": "Write the leaderboards as a static web site.",
    "check": "Measure again, and compare with what was accepted.",
    "record": "Put a result measured here on the project's record, to be committed.",
    "submit": "Bundle a result measured here for a pull request, or check a bundle.",
    "registry": "Look after the registry itself.",
    "doctor": "Packages, machine, data sets: what is wrong and what mends it.",
    "sync": "Mirror into MLflow the results it does not hold yet.",
    "ui": "Serve MLflow's page on our runs, to this machine only.",
    "completion": "Print the shell code that completes commands and options.",
}


class Bench(click.Group):
    """Loads a verb's module when it is asked for, and turns errors into one line and a code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = import_module(f"harness.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))

    def main(self, *args: Any, **extra: Any) -> Any:
        # What is read at the start stays; looking for garbage in it took a quarter of the reading.
        gc.set_threshold(20_000, 20, 50)
        with watched_streams(), memory_errors_said_once():
            return super().main(*args, **extra)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        try:
            with _in_one_line(info_name or "bench"):
                return super().make_context(info_name, args, parent, **extra)
        except OSError:  # of `bench --help`
            if (message := lost_output()) is None:
                raise
            say_problem(message)
            raise SystemExit(UNEXPECTED) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], _VERBS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"no command is called {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _in_one_line("bench"):
                try:
                    return super().invoke(ctx)
                finally:
                    sys.stdout.flush()  # where a full disk behind it can still be said
        except BenchError as error:
            say_problem(error)
            ctx.exit(exit_code(error))
        except (click.exceptions.Exit, OneLine):
            raise
        except (click.Abort, KeyboardInterrupt, EOFError):
            say_line("", err=True)  # after a question, or what the terminal shows of Ctrl-C
            stopped = Preempted("stopped by Ctrl-C, or left without an answer")
            say_problem(f"{stopped}. The same command begins again")
            ctx.exit(exit_code(stopped))
        except Exception as error:
            message = lost_output() or _about_this_machine(error)
            if message is None:
                raise
            say_problem(message)
            ctx.exit(UNEXPECTED)


def _about_this_machine(error: Exception) -> str | None:
    """A limit of this machine, or a foreign package in the place of ours."""
    if isinstance(error, ImportError | AttributeError) and (message := _shadowed()):
        return message
    return machine_problem(error)


# `bench` alone shows its help; click before 8.2 does so without an error.
_SHOWS_HELP: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


class OneLine(click.ClickException):
    """A wrong command line, message in one line instead of click's four."""

    exit_code = USAGE

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(problem_line(self.message), err=True, file=file)


@contextmanager
def _in_one_line(command: str) -> Iterator[None]:
    try:
        yield
    except _SHOWS_HELP:
        raise
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else command
        message = " ".join(error.format_message().split())
        stop = "" if message.endswith((".", "?", ")")) else "."
        raise OneLine(f"{message}{stop} Help: {path} --help") from error
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        name = max(os.fsdecode(error.filename or "").split(os.sep), key=len)
        message = f"{name[:40]!r}... has {len(name)} letters, more than a name can have here"
        raise OneLine(f"{message}. Help: {command} --help") from error


@click.group(
    cls=Bench,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start here:  bench reproduce --suite quickstart",
)
@click.version_option(package_name="reprune", prog_name="bench")
def main() -> None:
    """Published pruning results, measured again: numbers, verdicts, reasons."""
    # A terminal that knows no "Δ" shows "?" instead of a traceback.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    speak_for_libraries()
    if os.environ.get("RANK", "0") != "0":
        sys.stdout = open(os.devnull, "w")


if __name__ == "__main__":  # torchrun --nproc-per-node N -m cli train ...
    main(prog_name="bench")
