"""The nightly check: every entry of a suite measured again and held to what was accepted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from harness import paths
from harness.errors import BenchError, CheckpointUnavailable, DataError, NotACheckpoint
from harness.evaluation import Listener, Outcome, reproduce_together
from harness.maintenance import accepted
from harness.maintenance import published_files as published
from harness.maintenance.drift import Finding, Severity, compare, drift, unchecked
from harness.registry import Entry, Registry, entry_sha256, evaluation_sha256
from harness.results import Link, Result, load_entry, new_id
from harness.system import Options, provenance, read_json

RESUMED_FOR_S = 12 * 3600  # an interrupted check is continued for that long


class Measuring(Protocol):
    """Measures entries as `reproduce_together` does; one outcome each, as soon as it is known."""

    def __call__(
        self,
        entries: Sequence[Entry],
        registry: Registry,
        options: Options,
        *,
        resume: bool,
        on_result: Listener | None = None,
    ) -> Iterator[Outcome]: ...


@dataclass(frozen=True, slots=True)
class Check:
    """What one entry of a check gave."""

    entry: str
    findings: tuple[Finding, ...]
    seconds: float
    accepted: str | None = None  # result ids
    measured: str | None = None
    top1_pct: float | None = None

    @property
    def severity(self) -> Severity | None:
        """The worst finding that matters; None = as accepted."""
        found = {finding.severity for finding in self.findings}
        for severity in (Severity.DRIFT, Severity.UNCHECKED):
            if severity in found:
                return severity
        return None


@dataclass(frozen=True, slots=True)
class NightlyRun:
    """Everything that was found."""

    name: str  # of the suite, or "chosen entries"
    started: str  # UTC, ISO 8601
    checks: tuple[Check, ...]
    seconds: float
    offline: bool = False
    resumed: int = 0  # entries taken over from an interrupted check

    def with_severity(self, severity: Severity | None) -> list[Check]:
        """The checks whose worst finding is of `severity`; None = as accepted."""
        return [check for check in self.checks if check.severity is severity]


def nightly_check(
    name: str,
    entries: Iterable[Entry],
    registry: Registry,
    options: Options,
    policy: published.LinkPolicy,
    fresh: bool = False,
    on_result: Listener | None = None,
    measured: Measuring | None = None,
) -> NightlyRun:
    """Check `entries` in shared passes; what stops one of them is its finding and stops no other.

    measured: what measures them, by default one after the other here; workers of an executor do
    so side by side.

    Every measurement is saved as a result, of which `on_result` hears. An interrupted check goes on
    where it ended, unless `fresh`, or code or packages changed since.
    """
    started, began = new_id()[1], time.perf_counter()
    chosen = list(entries)
    journal = NightlyJournal.open(name, chosen, policy, fresh)
    resumed = len(journal.done)
    missing = [entry for entry in chosen if entry.id not in journal.done]
    answers = published.ask_hosts(missing, policy, options.progress)
    standards = {
        entry.id: _accepted_result(entry, registry) for entry in missing
    }  # before new results
    last = time.perf_counter()
    measure = measured or reproduce_together
    for outcome in measure(missing, registry, options, resume=False, on_result=on_result):
        found = _findings(outcome, standards[outcome.entry.id], policy, answers)
        now = time.perf_counter()
        journal.add(_check(outcome, standards[outcome.entry.id], found, now - last))
        last = now
    checks = tuple(journal.done[entry.id] for entry in chosen)
    journal.close()
    seconds = time.perf_counter() - began
    return NightlyRun(name, started, checks, seconds, policy.offline, resumed)


@dataclass(frozen=True, slots=True)
class _AcceptedResult:
    """The result an entry is held to, or why there is none."""

    result: Result | None
    problem: Finding | None = None


def _accepted_result(entry: Entry, registry: Registry) -> _AcceptedResult:
    protocol = evaluation_sha256(registry.evaluations[entry.evaluation])
    stored = load_entry(entry.id, dict.fromkeys(entry.aliases, entry.id))
    try:
        result = accepted.standing(entry.id, protocol, stored, accepted.decisions().get(entry.id))
    except BenchError as error:
        return _AcceptedResult(None, unchecked("no accepted result", str(error)))
    if result is None:
        text = f'none yet; after a look at it: bench check --accept {entry.id} --reason "..."'
        return _AcceptedResult(None, unchecked("no accepted result", text))
    return _AcceptedResult(result)


def _findings(
    outcome: Outcome,
    standard: _AcceptedResult,
    policy: published.LinkPolicy,
    answers: Mapping[str, Link],
) -> list[Finding]:
    """What is wrong with the entry's links, with its measurement, and between then and now."""
    before = standard.result
    sha256 = before.checkpoint.sha256 if before and before.checkpoint else None
    found = [standard.problem] if standard.problem else []
    found += published.findings(outcome.entry, answers, policy, sha256)
    if outcome.error is not None:
        problem = _unmeasured(outcome.error)
        found += [problem] if problem.kind not in {finding.kind for finding in found} else []
    if before is not None and outcome.evaluated is not None:
        found += compare(before, outcome.evaluated)
    return found


def _check(
    outcome: Outcome, standard: _AcceptedResult, findings: list[Finding], seconds: float
) -> Check:
    before, after = standard.result, outcome.evaluated
    return Check(
        entry=outcome.entry.id,
        findings=tuple(findings),
        seconds=seconds,
        accepted=before.result_id if before else None,
        measured=after.result_id if after else None,
        top1_pct=after.seen[1].top1_pct if after else None,
    )


def _unmeasured(error: BenchError) -> Finding:
    """Why there is no new result."""
    if isinstance(error, CheckpointUnavailable):
        return unchecked("not measured", _why(error))
    if isinstance(error, DataError):
        return unchecked("missing data set", str(error))
    if isinstance(error, NotACheckpoint):
        return drift("not a file", str(error))
    return drift("changed checkpoint", str(error))  # wrong hash, unsafe pickle, misfit


def _why(error: BenchError) -> str:
    """The reason alone: advice on one file, repeated for every file, hides the rest."""
    while isinstance(error.__cause__, BenchError):
        error = error.__cause__
    return str(error)


_KINDS: dict[str, Any] = {  # of a check's fields, as they are read back
    "entry": str,
    "seconds": int | float,
    "accepted": str | None,
    "measured": str | None,
    "top1_pct": float | None,
}


@dataclass
class NightlyJournal:
    """What an unfinished check has found so far, one JSON line per entry, on disk."""

    path: Path
    done: dict[str, Check] = field(default_factory=dict)

    @classmethod
    def open(
        cls, name: str, entries: list[Entry], policy: published.LinkPolicy, fresh: bool
    ) -> NightlyJournal:
        """The journal of the check that was interrupted, or an empty one."""
        key = provenance.sha256_json(
            {
                "name": name,
                "entries": {entry.id: entry_sha256(entry) for entry in entries},
                "versions": provenance.versions(),
                "code": provenance.code_version(),
                "offline": policy.offline,
                "home": str(paths.results_folder()),
            }
        )
        journal = cls(paths.cache_folder() / "nightly" / f"{key[:16]}.jsonl")
        if not journal.path.exists():
            return journal
        if fresh or time.time() - journal.path.stat().st_mtime > RESUMED_FOR_S:
            journal.path.unlink()
            return journal
        for line in journal.path.read_bytes().split(b"\n"):
            check = _read(line)
            if check is not None:
                journal.done[check.entry] = check
        return journal

    def add(self, check: Check) -> None:
        """Remember one finished entry, on disk before the next one begins."""
        self.done[check.entry] = check
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(check), ensure_ascii=False) + "\n")
            lines.flush()
            os.fsync(lines.fileno())

    def close(self) -> None:
        """The check is over; nothing is left to be continued."""
        self.path.unlink(missing_ok=True)


def _read(line: bytes) -> Check | None:
    """One line of a journal; None for one that is damaged: its entry is measured again."""
    try:
        facts: Any = read_json(line)
        findings = tuple(
            Finding(f["kind"], Severity(f["severity"]), f["text"]) for f in facts.pop("findings")
        )
        found = Check(findings=findings, **facts)
        whole = [isinstance(getattr(found, name), kind) for name, kind in _KINDS.items()]
        texts = [isinstance(text, str) for f in findings for text in (f.kind, f.text)]
        return found if all(whole + texts) else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
