"""Which result of an entry counts as right until somebody says otherwise.

`reports/accepted.jsonl` is append-only: one line per decision, with its date and its reason; the
last line about an entry counts. Without a line it is the entry's first full evaluation under the
present protocol: a later measurement never becomes the standard by merely being newer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness import paths
from harness.errors import DamagedFile, MetricError
from harness.registry import from_mapping
from harness.results import Result, load_all
from harness.system import read_json

FILE = "accepted.jsonl"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """One decision."""

    entry: str
    result_id: str
    date: str  # UTC, ISO 8601
    reason: str


def file() -> Path:
    """Where decisions taken here stand; `put_on_record` adds them to the project's."""
    return paths.reports_folder() / FILE


def decisions() -> dict[str, Acceptance]:
    """Entry -> its last decision. Raises DamagedFile naming the line that is none."""
    return {d.entry: d for place in paths.layers(FILE) for d in lines(place)}


def lines(place: Path) -> list[Acceptance]:
    """Every decision in the file at `place`, oldest first; none if there is no file."""
    try:
        text = place.read_text(encoding="utf-8", errors="backslashreplace")  # a line below says so
    except FileNotFoundError:
        return []
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line:
            continue
        try:
            found.append(from_mapping(Acceptance, read_json(line)))
        except ValueError as error:  # a Fault is one
            msg = f"{place.name}, line {number}: not a decision ({error}). Restore the file"
            raise DamagedFile(f"{msg} from version control, or take the line out") from error
    return found


def accept(entry_id: str, reason: str, result_id: str | None = None) -> Acceptance:
    """Record that a stored result of `entry_id` (default: the newest full one) is right from now.

    Raises MetricError if there is no such result, it is a smoke run, or it is accepted already.
    """
    if not reason.strip():
        raise MetricError(f"{entry_id}: an acceptance needs a reason. Say what changed and why")
    chosen = _chosen(entry_id, result_id)
    last = decisions().get(entry_id)
    if last is not None and last.result_id == chosen.result_id:
        msg = f"{entry_id}: {last.result_id} was accepted on {last.date[:10]}: {last.reason}"
        raise MetricError(msg)
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    decision = Acceptance(entry_id, chosen.result_id, now, " ".join(reason.split()))
    append(decision, file())
    return decision


def append(decision: Acceptance, place: Path) -> None:
    """Add a line to the file of decisions at `place`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a", encoding="utf-8") as out:
        out.write(json.dumps(asdict(decision), ensure_ascii=False) + "\n")


def standing(
    entry_id: str,
    protocol_sha256: str,
    results: Iterable[Result],
    decision: Acceptance | None,
) -> Result | None:
    """The result that counts for `entry_id`, or None if there is none yet.

    results: of this entry, oldest first. Raises MetricError if the accepted result is gone.
    """
    stored = list(results)
    if decision is not None:
        for result in stored:
            if result.result_id == decision.result_id:
                return result
        msg = f"{entry_id}: the accepted result {decision.result_id} is not stored here"
        raise MetricError(f"{msg}. Restore it, or accept another one: bench check --accept")
    for result in stored:
        if _counts(result) and result.protocol.sha256 == protocol_sha256:
            return result
    return None


def _chosen(entry_id: str, result_id: str | None) -> Result:
    stored = [result for result in load_all(entry=entry_id) if _counts(result)]
    for result in reversed(stored):
        if result_id in (None, result.result_id):
            return result
    what = "full evaluation" if result_id is None else f"full evaluation called {result_id}"
    msg = f"{entry_id}: no {what} is stored. Measure it: bench reproduce {entry_id}"
    raise MetricError(msg)


def _counts(result: Result) -> bool:
    # A stand-in data set makes every result of its entries a smoke run: the whole set counts.
    if result.paper is None:  # of one's own, whatever it is called
        return False
    return result.mode == "evaluated" and result.n_images == result.seen[0].n_total
