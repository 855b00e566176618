"""bench doctor"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import shared_options as options
from harness.commands.output import print_json, print_labelled

if TYPE_CHECKING:
    from rich.text import Text

    from harness.maintenance import Diagnosis


@click.command("doctor", epilog="Example:  bench doctor --json")
@options.data_root
@options.as_json
def command(data_root: Path | None, as_json: bool) -> None:
    """Packages, machine, data sets: what is wrong and what mends it."""
    from harness.maintenance import examine_machine

    findings = examine_machine(data_root)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_labelled([(_label(finding), finding.text) for finding in findings])
    if not all(f.ok for f in findings if f.required):
        raise SystemExit(1)


def _label(finding: Diagnosis) -> Text:
    from rich.text import Text

    mark = Text("ok", style="green") if finding.ok else Text("!!", style="yellow")
    return Text.assemble(mark, f"  {finding.what}")
