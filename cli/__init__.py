"""The `bench` command: parse, call the harness, print, exit. One file per verb.

stdout carries the result, stderr progress and logs. Exit codes: 0 fine, 1 unexpected, 2 usage or
registry, 3 a verdict failed or drifted, 4 something cannot be checked (file or data missing),
5 stopped by SIGTERM or Ctrl-C after saving (run the same command to continue).

Under torchrun every process runs the command; the first one prints, and torchrun's own exit code
is 1 when any of them stops early.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any

import click

from harness.errors import (
    BenchError,
    CheckpointError,
    DataError,
    Preempted,
    ProtocolError,
    RegistryError,
)

UNEXPECTED, USAGE, VERDICT, CANNOT_CHECK, PREEMPTED = 1, 2, 3, 4, 5

_EXIT_CODES: tuple[tuple[type[BenchError], int], ...] = (
    (RegistryError, USAGE),
    (ProtocolError, USAGE),
    (CheckpointError, CANNOT_CHECK),
    (DataError, CANNOT_CHECK),
    (Preempted, PREEMPTED),
    (BenchError, UNEXPECTED),
)

# Verb -> its module and, so that the overview loads none of them, what it does in a sentence.
_VERBS = {
    "list": ("entries", "Entries of the registry, with file status and last verdict."),
    "show": ("show", "Everything about one entry."),
    "pull": ("pull", "Obtain, verify and convert published checkpoints."),
    "reproduce": ("reproduce", "Published against measured, with a verdict and its reason."),
    "eval": ("evaluate", "Evaluate weights of your own by a published protocol."),
    "train": ("train", "Train with any method under a standardized protocol."),
    "prune": ("prune", "Prune a dense network, at once or in rounds."),
    "estimate": ("estimate", "Savings to expect before any training."),
    "export": ("export", "Hand out weights, published or trained here."),
    "profile": ("profile", "Parameters, zeros and MACs per layer."),
    "latency": ("latency", "Time dense and pruned networks in turns."),
    "allocation": ("allocation", "Layer rates chosen by rate-distortion and four other rules."),
    "shrink": ("shrink", "Write a network without some channels, and time both."),
    "compress": ("compress", "Bytes of every layer after each stage of Deep Compression."),
    "table": ("table", "The leaderboard, from stored results only."),
    "plot": ("plot", "Draw accuracy against MACs, parameters or latency."),
    "compare": ("compare", "Compare two results image by image."),
    "claims": ("claims", "How many published rows hold, and how many links."),
    "report": ("report", "Write the leaderboards as a static web site."),
    "check": ("check", "Measure again, and compare with what was accepted."),
    "registry": ("registry", "Look after the registry itself."),
    "doctor": ("doctor", "Packages, machine, data sets: what is wrong and what mends it."),
    "sync": ("sync", "Mirror into MLflow the results it does not hold yet."),
    "ui": ("ui", "Serve MLflow's page on our runs, to this machine only."),
    "completion": ("completion", "Print the shell code that completes commands and options."),
}


class Bench(click.Group):
    """Loads a verb's module when it is asked for, and turns errors into one line and a code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        command: click.Command = import_module(f"cli.{_VERBS[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, told) for verb, (_, told) in _VERBS.items()])

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        with _in_one_line(info_name or "bench"):
            return super().make_context(info_name, args, parent, **extra)

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
                return super().invoke(ctx)
        except BenchError as error:
            click.echo(f"bench: {error}", err=True)
            ctx.exit(exit_code(error))
        except (click.exceptions.Exit, click.Abort):
            raise
        except (OSError, ImportError, RuntimeError, AttributeError) as error:
            told = _about_this_machine(error)
            if told is None:
                raise
            click.echo(f"bench: {told}", err=True)
            ctx.exit(UNEXPECTED)


def _about_this_machine(error: Exception) -> str | None:
    """What every verb can meet: a home that cannot be written, a torchvision of another torch."""
    if isinstance(error, OSError):
        from harness.paths import complaint

        return complaint(error)
    from harness.provenance import broken_pair

    return broken_pair(error)


# `bench` alone shows its help; click before 8.2 does so without an error.
_SHOWS_HELP: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


class OneLine(click.ClickException):
    """A wrong command line, told in one line instead of click's four."""

    exit_code = USAGE

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"bench: {self.message}", err=True, file=file)


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


def exit_code(error: BenchError) -> int:
    """The documented exit code of an error."""
    return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))


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
    if os.environ.get("RANK", "0") != "0":
        sys.stdout = open(os.devnull, "w")
