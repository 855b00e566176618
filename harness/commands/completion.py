"""bench completion"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from harness.commands.visible_text import say


@click.command("completion", epilog='Example:  eval "$(bench completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the shell code that completes commands and options."""
    completer = get_completion_class(shell)
    assert completer is not None, "click knows the three shells offered"
    root = ctx.find_root().command
    say(completer(root, {}, "bench", "_BENCH_COMPLETE").source())
