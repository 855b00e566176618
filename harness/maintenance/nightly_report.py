"""A nightly run as text for people, JUnit for machines, Markdown for a job's page, and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from harness.maintenance.drift import Severity
from harness.maintenance.nightly import Check, NightlyRun

FINE, DRIFTED, UNCHECKED = 0, 3, 4
ACCEPT = 'bench check --accept ID --reason "..."'


def exit_code(run: NightlyRun) -> int:
    """3 if anything drifted, else 4 if anything could not be checked, else 0."""
    if run.with_severity(Severity.DRIFT):
        return DRIFTED
    return UNCHECKED if run.with_severity(Severity.UNCHECKED) else FINE


def headline(run: NightlyRun) -> str:
    """One line: how many are as accepted, drifted, unchecked."""
    counts = [
        f"{len(run.with_severity(None))} as accepted",
        f"{len(run.with_severity(Severity.DRIFT))} drifted",
        f"{len(run.with_severity(Severity.UNCHECKED))} could not be checked",
    ]
    resumed = f", {run.resumed} taken over from an interrupted check" if run.resumed else ""
    return (
        f"{run.name} of {run.started[:10]}: {_entries(len(run.checks))}, {', '.join(counts)}"
        f" ({run.seconds:.0f} s{resumed})"
    )


def text(run: NightlyRun) -> str:
    """The short report: the headline, then only what is not as it was."""
    lines = [headline(run)]
    if run.offline:
        lines.append("offline: no link was asked")
    for severity in (Severity.DRIFT, Severity.UNCHECKED):
        rows = _rows(run, severity)
        if rows:
            widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
            lines += ["", f"{severity}:"]
            lines += [f"  {e:<{widths[0]}}  {k:<{widths[1]}}  {t}" for e, k, t in rows]
    shared = notes(run)
    if shared:
        lines += ["", "changed around the numbers (no failure):"]
        lines += [f"  {line} ({_entries(count)})" for line, count in shared.items()]
    advice = _advice(run)
    return "\n".join([*lines, *([""] if advice else []), *advice])


def _advice(run: NightlyRun) -> list[str]:
    """What to type next, once for all entries."""
    kinds = {finding.kind for check in run.checks for finding in check.findings}
    lines = []
    if kinds & {"not measured", "missing data set"}:
        lines += [
            "A file that no link delivers: bench pull ID --from FILE. Data sets and where they are "
            "looked for: bench doctor"
        ]
    if run.with_severity(Severity.DRIFT) or "not comparable" in kinds:
        lines += [f"What changed and is right becomes the standard: {ACCEPT}"]
    return lines


def notes(run: NightlyRun) -> dict[str, int]:
    """What changed without being a failure -> for how many entries."""
    found: dict[str, int] = {}
    for check in run.checks:
        for finding in check.findings:
            if finding.severity is Severity.NOTE:
                line = f"{finding.kind}: {finding.text}"
                found[line] = found.get(line, 0) + 1
    return found


def junit(run: NightlyRun) -> str:
    """JUnit XML: drift is a failure, what could not be checked an error, notes are output."""
    drifted, unchecked = (len(run.with_severity(s)) for s in (Severity.DRIFT, Severity.UNCHECKED))
    totals = {
        "tests": str(len(run.checks)),
        "failures": str(drifted),
        "errors": str(unchecked),
        "skipped": "0",
        "time": f"{run.seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": "bench check", **totals})
    named = {"name": run.name, "timestamp": run.started.rstrip("Z")}
    suite = ElementTree.SubElement(root, "testsuite", {**named, **totals})
    for check in run.checks:
        _case(suite, run.name, check)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def markdown(run: NightlyRun) -> str:
    """For the summary of a job's page."""
    lines = [f"### {headline(run)}", ""]
    for severity in (Severity.DRIFT, Severity.UNCHECKED):
        rows = _rows(run, severity)
        if rows:
            lines += [f"**{severity}**", "", "| entry | what | detail |", "| --- | --- | --- |"]
            lines += [f"| `{e}` | {k} | {t.replace('|', chr(92) + '|')} |" for e, k, t in rows]
            lines.append("")
    shared = notes(run)
    if shared:
        lines += ["Changed around the numbers (no failure):", ""]
        lines += [f"- {line} ({_entries(count)})" for line, count in shared.items()]
        lines.append("")
    lines += _advice(run)
    return "\n".join(lines).rstrip() + "\n"


def document(run: NightlyRun) -> dict[str, Any]:
    """Everything, for --json."""
    return {
        "suite": run.name,
        "started": run.started,
        "seconds": run.seconds,
        "offline": run.offline,
        "exit_code": exit_code(run),
        "checks": [
            {**asdict(check), "status": check.severity or "as accepted"} for check in run.checks
        ],
    }


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _rows(run: NightlyRun, severity: Severity) -> list[tuple[str, str, str]]:
    """(entry, kind, text) of every finding of one severity."""
    return [
        (check.entry, finding.kind, " ".join(finding.text.split()))
        for check in run.checks
        for finding in check.findings
        if finding.severity is severity
    ]


def _case(suite: ElementTree.Element, name: str, check: Check) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=name, name=check.entry, time=f"{check.seconds:.3f}"
    )
    for severity, tag in ((Severity.DRIFT, "failure"), (Severity.UNCHECKED, "error")):
        mine = [finding for finding in check.findings if finding.severity is severity]
        # One of each at most: readers of JUnit files count elements, not findings.
        if mine and (severity is check.severity):
            problem = ElementTree.SubElement(
                case, tag, type=mine[0].kind, message=_printable(mine[0].text)
            )
            problem.text = "\n".join(_printable(f"{f.kind}: {f.text}") for f in mine)
    rest = [
        f"{f.kind} ({f.severity}): {f.text}" for f in check.findings if f.severity != check.severity
    ]
    if rest:
        output = ElementTree.SubElement(case, "system-out")
        output.text = "\n".join(map(_printable, rest))


def _printable(text: str) -> str:
    """`text` without the control characters that no XML may hold."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
