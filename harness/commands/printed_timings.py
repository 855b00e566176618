"""A record of timings on the terminal; what several verbs print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.commands.output import console
from harness.commands.visible_text import say, say_line

if TYPE_CHECKING:
    from harness.results import LatencyRecord


def show_timings(record: LatencyRecord) -> None:
    """Print what was timed, the table, and what was left out."""
    from harness.reports import (
        MEBIBYTE,
        known_to,
        machine_in_words,
        timing_legend,
        timing_rows,
        timing_table,
    )

    screen = console()
    say_line(f"{record.entry}: {machine_in_words(record)}")
    for network in record.networks:
        dense, packed = network.dense_bytes / MEBIBYTE, network.packed_bytes / MEBIBYTE
        say_line(
            f"  {network.name}: {network.sparsity_pct:.2f} % zeros, "
            f"{network.macs_effective / 1e6:,.1f} of {network.macs_dense / 1e6:,.1f} M MACs, "
            f"{dense:.1f} MiB ({packed:.1f} packed); {network.weights}"
        )
    screen.print(timing_table(timing_rows([record]), screen.width))
    reasons = (f"{x.network} on {x.backend}: {x.reason}" for x in record.skipped)
    for reason in dict.fromkeys(reasons):
        say_line(f"not timed: {reason}")
    say(timing_legend([record]))
    say(known_to(record))
