"""What became of every published row: reproduced, contradicted, or unchecked and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.registry import Entry, Registry
from harness.reports.table.rows import Row
from harness.results import Kind, Link, addresses, current, failed

REPRODUCED, CONTRADICTED, UNCHECKED = "reproduced", "contradicted", "cannot be checked"
OUTCOMES = (REPRODUCED, CONTRADICTED, UNCHECKED)
AGREES = ("exact", "match", "near", "consistent", "reached")

NO_NUMBER = "no accuracy is published to compare with"
SUBSET = "measured on a subset or stand-in data only"
NOT_REACHED = "not reached by a protocol that is partly ours"
DOUBTFUL = "the printed number is doubtful"
MISSING_PART = "something needed is missing"
NO_FILE = "no checkpoint was published, and nobody retrained it here"
GONE = "the published file is gone"
UNREAD = "a file is published, not measured here yet"
_WITHOUT_JUDGEMENT = {
    "reported": NO_NUMBER,
    "smoke": SUBSET,
    "suspect": DOUBTFUL,
    "not reached": NOT_REACHED,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """One published row and what is known about it."""

    entry: str
    paper: str
    outcome: str  # one of OUTCOMES
    status: str | None  # verdict of the result that decides; None = never measured
    why: str  # one of the sentences above, or the verdict's reason


@dataclass(frozen=True, slots=True)
class LinkCount:
    """How many published addresses answer. total = alive + dead + unclear + never_probed."""

    total: int
    alive: int
    dead: int
    unclear: int  # asked, but the answer says neither
    never_probed: int
    last_checked: str | None  # date of the newest answer


@dataclass(frozen=True, slots=True)
class Claims:
    """Every row that others published, and the health of the links."""

    rows: tuple[Claim, ...]
    pages: LinkCount  # papers and code
    files: LinkCount  # checkpoints
    own: int  # entries of this project's own networks, which are nobody's claims

    def counts(self, paper: str | None = None) -> dict[str, int]:
        """Outcome -> rows, of all papers or one."""
        found = Counter(c.outcome for c in self.rows if paper in (None, c.paper))
        return {outcome: found[outcome] for outcome in OUTCOMES}

    def reasons(self) -> dict[str, int]:
        """Why rows cannot be checked -> rows, most frequent first."""
        return dict(Counter(c.why for c in self.rows if c.outcome == UNCHECKED).most_common())


def count_claims(registry: Registry, rows: Iterable[Row], links: Mapping[str, Link]) -> Claims:
    """What the stored results and link checks say about every row that others published.

    That our own networks give our own numbers again proves nothing; they are counted apart. A row
    that was both re-evaluated and retrained counts once, by the re-evaluation.
    """
    deciding = current.per_entry(rows, registry.aliases)
    kinds = addresses(registry)
    published = [e for e in registry.entries.values() if not registry.papers[e.paper].own]
    return Claims(
        rows=tuple(_claim(e, deciding.get(e.id), links) for e in published),
        pages=_count(kinds, "page", links),
        files=_count(kinds, "file", links),
        own=len(registry.entries) - len(published),
    )


def _claim(entry: Entry, row: Row | None, links: Mapping[str, Link]) -> Claim:
    if row is None:
        return Claim(entry.id, entry.paper, UNCHECKED, None, _unmeasured(entry, links))
    status = row.verdict
    if failed(status):
        return Claim(entry.id, entry.paper, CONTRADICTED, status, row.reason)
    if status in AGREES:
        return Claim(entry.id, entry.paper, REPRODUCED, status, row.reason)
    why = _WITHOUT_JUDGEMENT.get(status, MISSING_PART)
    return Claim(entry.id, entry.paper, UNCHECKED, status, why)


def _unmeasured(entry: Entry, links: Mapping[str, Link]) -> str:
    if entry.checkpoint is None:
        return NO_FILE
    answers = [links.get(source) for source in entry.checkpoint.sources]
    dead = all(answer is not None and answer.ok is False for answer in answers)
    return GONE if dead else UNREAD


def _count(kinds: Mapping[str, Kind], kind: Kind, links: Mapping[str, Link]) -> LinkCount:
    wanted = [address for address, its in kinds.items() if its == kind]
    answers = [links[address] for address in wanted if address in links]
    said = Counter(answer.ok for answer in answers)
    return LinkCount(
        total=len(wanted),
        alive=said[True],
        dead=said[False],
        unclear=said[None],
        never_probed=len(wanted) - len(answers),
        last_checked=max((answer.checked[:10] for answer in answers), default=None),
    )
