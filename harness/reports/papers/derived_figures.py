"""What `bench registry check --full` derives of printed figures without any weights, kept for all
who count or show them.

reports/derived.json holds one judgement per figure, with the hash of the claims it belongs to: a
row whose claims changed since has none until it is derived again.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import paths
from harness.errors import StateWarning
from harness.registry import Entry, Registry, entry_sha256, from_mapping
from harness.results import Comparison
from harness.system import read_json, replace_text

RELEASED_CODE = "released program"  # refutes how a figure was reached, not the figure


@dataclass(frozen=True, slots=True)
class DerivedFigure:
    """One printed figure against what follows from architecture, budget or other figures."""

    entry: str
    entry_sha256: str
    figure: str
    kind: str  # which rule settled it, e.g. "dense parameters"
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class _Derived:
    """The file, which is a list."""

    figures: tuple[DerivedFigure, ...]


def derived_file() -> Path:
    """Where the last derivations lie: on the project's record."""
    return paths.record_folder() / "derived.json"


def save_derived(figures: Iterable[DerivedFigure]) -> None:
    """Replace what was derived before."""
    rows = [asdict(figure) for figure in figures]
    text = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    replace_text(derived_file(), f"[\n{text}\n]\n")


def all_derived(registry: Registry, entries: Iterable[Entry] | None = None) -> list[DerivedFigure]:
    """Every derivation that still belongs to the registry's rows.

    entries: only theirs; default all. A file that is not what `save_derived` wrote is named in a
    StateWarning and left out.
    """
    try:
        rows = read_json(derived_file().read_bytes())
        found = list(from_mapping(_Derived, {"figures": rows}).figures)
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:  # a Fault is a ValueError
        msg = f"left out: {derived_file()} cannot be read ({error}). Write it again"
        advice = f"{msg}: bench registry check --full --record"
        warnings.warn(advice, StateWarning, stacklevel=2)
        return []
    derived_of = {figure.entry for figure in found}
    rows_of = registry.entries.values() if entries is None else entries
    today = {entry.id: entry_sha256(entry) for entry in rows_of if entry.id in derived_of}
    return [figure for figure in found if today.get(figure.entry) == figure.entry_sha256]


def load_derived(
    registry: Registry, entries: Iterable[Entry] | None = None
) -> Mapping[str, Mapping[str, Comparison]]:
    """Entry -> figure -> what was derived of it; contradictions win where rules meet.

    entries: only theirs; default all. What only the released program refutes is no judgement of
    the figure.
    """
    found: dict[str, dict[str, Comparison]] = {}
    for figure in all_derived(registry, entries):
        if figure.kind == RELEASED_CODE:
            continue
        before = found.setdefault(figure.entry, {}).get(figure.figure)
        if before is None or before.status == "exact":
            found[figure.entry][figure.figure] = figure.comparison
    return found
