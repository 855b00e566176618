"""Results measured here put on the project's record: files that are committed, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.errors import DataError, ProtocolError
from harness.maintenance import accepted
from harness.results import current, load_all
from harness.system import publish

FIRST = (".npz", ".png")  # the JSON file comes last: a result that has it is whole
KINDS = ("results", "latency")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was moved, and the decision about it that went along."""

    files: tuple[Path, ...]
    decision: accepted.Acceptance | None


def put_on_record(name: str, aliases: Mapping[str, str]) -> Recorded:
    """Move results from the home folder into the clone's `reports/`, where they can be committed.

    name: the id of a result or of a timing; or an entry, whose results that count are meant, one
    for each way of measuring. A decision of `bench check --accept` about them goes along.
    aliases: former entry id -> today's. Raises ProtocolError outside of a clone, DataError if
    nothing of that name was measured here, MetricError if it is on record already.
    """
    if not paths.in_clone():
        msg = f"{name}: the project's record is in a clone of the project, and this is no clone"
        raise ProtocolError(f"{msg}. See CONTRIBUTING.md there")
    found = files_named(name, aliases)
    if not found:
        msg = f"{name}: nothing of that name was measured here ({paths.reports_folder()})"
        raise DataError(f"{msg}. Measure it first: bench reproduce {name}")
    moved = [part for file in found for part in _moved(file)]
    return Recorded(tuple(moved), _decision({file.stem for file in found}))


def files_named(name: str, aliases: Mapping[str, str]) -> list[Path]:
    """JSON files in the home folder: of one result or timing, or those of an entry that count."""
    own = paths.reports_folder()
    by_id = [file for kind in KINDS for file in own.glob(f"{kind}/*/*.json") if file.stem == name]
    if by_id:
        return by_id
    stored = load_all(paths.results_folder(), layers=False)
    counting = current.per_mode(stored, aliases)
    today = aliases.get(name, name)
    return [
        paths.results_folder() / result.entry / f"{result.result_id}.json"
        for (entry, _), result in counting.items()
        if entry == today
    ]


def _moved(file: Path) -> list[Path]:
    """The places to which `file` and what belongs to it went."""
    below = file.parent.relative_to(paths.reports_folder())
    beside = [part for part in file.parent.glob(f"{file.stem}*") if part.suffix in FIRST]
    targets = []
    for part in (*sorted(beside), file):
        target = paths.record_folder() / below / part.name
        content = part.read_bytes()
        publish(target, lambda out, content=content: out.write(content))  # type: ignore[misc]
        targets.append(target)
    for part in (file, *beside):
        part.unlink()
    return targets


def _decision(result_ids: set[str]) -> accepted.Acceptance | None:
    """The last decision taken here about one of these results, added to the project's."""
    taken = [d for d in accepted.lines(accepted.file()) if d.result_id in result_ids]
    if not taken:
        return None
    accepted.append(taken[-1], paths.record_folder() / accepted.FILE)
    return taken[-1]
