"""bench doctor"""

from __future__ import annotations

from pathlib import Path

import click

from cli import options
from cli.output import print_json


@click.command("doctor", epilog="Example:  bench doctor --json")
@options.data_root
@options.as_json
def command(data_root: Path | None, as_json: bool) -> None:
    """Environment, data sets and known traps, each with the line that mends it."""
    from harness.doctor import examine

    findings = examine(data_root)
    if as_json:
        print_json([{"what": f.what, "ok": f.ok, "text": f.text} for f in findings])
    else:
        for finding in findings:
            mark = click.style("ok ", fg="green") if finding.ok else click.style("!! ", fg="yellow")
            click.echo(f"{mark} {finding.what:<18} {finding.text}")
    if not all(f.ok for f in findings if f.required):
        raise SystemExit(1)
