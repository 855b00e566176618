"""bench compare"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands import shared_options as options
from harness.commands.output import plain_table, print_json, print_rich

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

    from harness.data import ImageIdentity
    from harness.evaluation import Paired, Side


@click.command(
    "compare",
    epilog="Example:  bench compare dense-convnet-tiny-digits str-convnet-tiny-digits-90",
)
@click.argument("a", metavar="A", shell_complete=options.complete_ids)
@click.argument("b", metavar="B", shell_complete=options.complete_ids)
@click.option(
    "--across-evaluations",
    is_flag=True,
    help="Also where the same images were prepared in different ways.",
)
@options.data_root
@options.as_json
def command(
    a: str, b: str, across_evaluations: bool, data_root: Path | None, as_json: bool
) -> None:
    """Compare two results image by image.

    A and B are entries (the newest full result counts), result ids, or result files. Prints how
    often both give the same answer, which answers flip, the exact McNemar test and an interval of
    the accuracy difference.
    """
    from harness.evaluation import compare

    aliases = options.load_registry(()).aliases
    found, data = compare(a, b, data_root, across_evaluations=across_evaluations, aliases=aliases)
    if as_json:
        facts = {"dataset": data.dataset, "split": data.split, "fingerprint": data.fingerprint}
        print_json({**asdict(found), **facts})
        return
    print_rich(_summary(found, data))


def _summary(found: Paired, data: ImageIdentity) -> Group:
    from rich.console import Group
    from rich.text import Text

    rows = (
        ("A right", f"{found.both_right:,}", f"{found.only_a_right:,}"),
        ("A wrong", f"{found.only_b_right:,}", f"{found.both_wrong:,}"),
    )
    heads = ("", "B right", "B wrong")
    table = plain_table(heads, rows, right=heads[1:], whole=heads)
    low, high = found.interval_pp
    lines = [
        f"same answer   {found.agreement_pct:.2f} % ({found.same_answer:,} of {found.n:,} images)",
        f"B - A         {found.difference_pp:+.2f} pp top-1, from {low:+.2f} to {high:+.2f}",
        f"p-value       {found.p_value:.3g} for flips this lopsided if A were as good as B",
    ]
    small = f"{found.interval_method}; {found.test}; {found.n:,} images of {data.dataset} "
    return Group(
        _headline("A", found.a),
        _headline("B", found.b),
        Text(),
        table,
        Text("\n" + "\n".join(lines)),
        Text(f"{small}{data.split} ({data.copy_name})", style="dim"),
    )


def _headline(name: str, side: Side) -> Text:
    from rich.text import Text

    seed = "" if side.seed is None else f", seed {side.seed}"
    facts = f"  {side.top1_pct:.2f} %, {side.mode}{seed}, result {side.result_id}"
    return Text.assemble((f"{name}  {side.entry}", "bold"), (facts, "dim"))
