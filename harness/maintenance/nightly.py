"""One night: every entry of a suite measured again and held to what was accepted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness import paths
from harness.errors import BenchError, CheckpointUnavailable, DataError, NotACheckpoint, Preempted
from harness.evaluation import reproduce_by_evaluation
from harness.maintenance import accepted
from harness.maintenance import published_files as published
from harness.maintenance.drift import Finding, Severity, compare, drift, unchecked
from harness.registry import Entry, Registry, entry_sha256, evaluation_sha256
from harness.results import Link, Result, load_entry, new_id
from harness.system import Options, provenance

RESUMED_FOR_S = 12 * 3600  # an interrupted night is continued for that long


@dataclass(frozen=True, slots=True)
class Check:
    """One entry's night."""

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
class Night:
    """Everything that was found."""

    name: str  # of the suite, or "chosen entries"
    started: str  # UTC, ISO 8601
    checks: tuple[Check, ...]
    seconds: float
    offline: bool = False
    resumed: int = 0  # entries taken over from an interrupted night

    def with_severity(self, severity: Severity | None) -> list[Check]:
        """The checks whose worst finding is of `severity`; None = as accepted."""
        return [check for check in self.checks if check.severity is severity]


def spend(
    name: str,
    entries: Iterable[Entry],
    registry: Registry,
    options: Options,
    policy: published.Policy,
    fresh: bool = False,
) -> Night:
    """Check `entries` one by one; what one of them raises is its finding and stops no other.

    Every measurement is saved as a result. An interrupted night goes on where it ended, unless
    `fresh`, or code or packages changed since.
    """
    started, began = new_id()[1], time.perf_counter()
    chosen = list(entries)
    journal = Journal.open(name, chosen, policy, fresh)
    resumed = len(journal.done)
    missing = [entry for entry in chosen if entry.id not in journal.done]
    answers = published.ask_hosts(missing, policy, options.progress)
    for entry in missing:
        journal.add(_check(entry, registry, options, policy, answers))
    checks = tuple(journal.done[entry.id] for entry in chosen)
    journal.close()
    seconds = time.perf_counter() - began
    return Night(name, started, checks, seconds, policy.offline, resumed)


def _check(
    entry: Entry,
    registry: Registry,
    options: Options,
    policy: published.Policy,
    answers: Mapping[str, Link],
) -> Check:
    began = time.perf_counter()
    findings: list[Finding] = []
    before: Result | None = None
    try:
        before = _accepted(entry, registry)
    except BenchError as error:
        findings.append(unchecked("no accepted result", str(error)))
    else:
        if before is None:
            text = f'none yet; after a look at it: bench check --accept {entry.id} --reason "..."'
            findings.append(unchecked("no accepted result", text))
    sha256 = before.checkpoint.sha256 if before and before.checkpoint else None
    findings += published.findings(entry, answers, policy, sha256)
    after, problems = _measure(entry, registry, options)
    told = {finding.kind for finding in findings}
    findings += [problem for problem in problems if problem.kind not in told]
    if before is not None and after is not None:
        findings += compare(before, after)
    return Check(
        entry=entry.id,
        findings=tuple(findings),
        seconds=time.perf_counter() - began,
        accepted=before.result_id if before else None,
        measured=after.result_id if after else None,
        top1_pct=after.counts.top1_pct if after else None,
    )


def _accepted(entry: Entry, registry: Registry) -> Result | None:
    protocol = evaluation_sha256(registry.evaluations[entry.evaluation])
    decision = accepted.decisions().get(entry.id)
    return accepted.standing(
        entry.id, protocol, load_entry(entry.id, dict.fromkeys(entry.aliases, entry.id)), decision
    )


def _measure(
    entry: Entry, registry: Registry, options: Options
) -> tuple[Result | None, list[Finding]]:
    """The new result, or why there is none."""
    try:
        return reproduce_by_evaluation(entry, registry, options), []
    except Preempted:
        raise
    except CheckpointUnavailable as error:
        return None, [unchecked("not measured", _why(error))]
    except DataError as error:
        return None, [unchecked("missing data set", str(error))]
    except NotACheckpoint as error:
        return None, [drift("not a file", str(error))]
    except BenchError as error:  # wrong hash, unsafe pickle, keys that do not fit
        return None, [drift("changed checkpoint", str(error))]


def _why(error: BenchError) -> str:
    """The reason alone: advice on one file, told for every file of a night, hides the rest."""
    while isinstance(error.__cause__, BenchError):
        error = error.__cause__
    return str(error)


@dataclass
class Journal:
    """What an unfinished night has found so far, one JSON line per entry, on disk."""

    path: Path
    done: dict[str, Check] = field(default_factory=dict)

    @classmethod
    def open(
        cls, name: str, entries: list[Entry], policy: published.Policy, fresh: bool
    ) -> Journal:
        """The journal of the night that was interrupted, or an empty one."""
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
        for line in journal.path.read_text(encoding="utf-8").splitlines():
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
        """The night is over; nothing is left to be continued."""
        self.path.unlink(missing_ok=True)


def _read(line: str) -> Check | None:
    """One line of a journal; None for the half line that a pulled plug leaves."""
    try:
        facts: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    findings = tuple(
        Finding(f["kind"], Severity(f["severity"]), f["text"]) for f in facts.pop("findings")
    )
    return Check(findings=findings, **facts)
