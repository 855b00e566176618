"""What became of every figure that others published, and of the addresses they published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.checkpoints import addresses
from harness.registry import Registry
from harness.reports.papers.paper_tables import summary_of
from harness.reports.papers.published_figures import published_figures
from harness.results import (
    AMBIGUOUS,
    INCONSISTENT,
    OUTCOMES,
    FigureStatus,
    Kind,
    Link,
    Result,
    load_links,
)

CONTRADICTED = "contradicted"
DISPUTED = (CONTRADICTED, INCONSISTENT, AMBIGUOUS)


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
    """Every figure that others published, and the health of the links."""

    rows: Mapping[str, tuple[FigureStatus, ...]]  # entry -> its figures
    papers: Mapping[str, str]  # entry -> paper
    pages: LinkCount  # papers and code
    files: LinkCount  # checkpoints
    own: int  # entries of this project's own networks, which are nobody's claims

    def figures(self, paper: str | None = None) -> list[FigureStatus]:
        """All figures, or those of one paper."""
        return [
            figure
            for entry, figures in self.rows.items()
            if paper in (None, self.papers[entry])
            for figure in figures
        ]

    def counts(self, paper: str | None = None) -> dict[str, int]:
        """Outcome -> figures, of all papers or one."""
        return outcome_counts(self.figures(paper))

    def needs(self) -> dict[str, int]:
        """What figures wait for -> how many, most first."""
        found = Counter(f.waits_for for f in self.figures() if f.waits_for)
        return {str(need): count for need, count in found.most_common()}

    def reasons(self) -> dict[str, int]:
        """Why figures are open or cannot be checked -> how many, most first."""
        waiting = [f for f in self.figures() if f.outcome in ("waits", "cannot be checked")]
        return dict(Counter(figure.reason for figure in waiting).most_common())

    def settled_rows(self) -> int:
        """Rows of which at least one figure was judged."""
        return sum(any(f.basis is not None for f in figures) for figures in self.rows.values())

    def with_outcome(self, outcome: str) -> list[FigureStatus]:
        """The figures of one outcome, in the order of the registry."""
        return [figure for figure in self.figures() if figure.outcome == outcome]

    @property
    def summary(self) -> str:
        """One line: rows, and figures by outcome."""
        judged = self.settled_rows()
        return f"{len(self.rows)} published rows, {judged} judged; {summary_of(self.figures())}"


def outcome_counts(figures: Iterable[FigureStatus]) -> dict[str, int]:
    """Outcome -> figures; outcomes that nothing has are 0."""
    found = Counter(figure.outcome for figure in figures)
    return {outcome: found[outcome] for outcome in OUTCOMES}


def count_claims(
    registry: Registry,
    results: Iterable[Result] | None = None,
    links: Mapping[str, Link] | None = None,
) -> Claims:
    """What the stored results and link checks say about every figure that others published.

    That our own networks give our own numbers again proves nothing; they are counted apart.
    results, links: default all that are stored.
    """
    answers = load_links() if links is None else links
    kinds = addresses(registry)
    published = [e for e in registry.entries.values() if not registry.papers[e.paper].own]
    return Claims(
        rows=published_figures(registry, published, results, answers),
        papers={entry.id: entry.paper for entry in published},
        pages=_count(kinds, "page", answers),
        files=_count(kinds, "file", answers),
        own=len(registry.entries) - len(published),
    )


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
