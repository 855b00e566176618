"""A night as text for people, JUnit for machines, Markdown for a job's page, one JSON document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from harness.maintenance.drift import Severity
from harness.maintenance.nightly import Check, Night

FINE, DRIFTED, UNCHECKED = 0, 3, 4
ACCEPT = 'bench check --accept ID --reason "..."'


def exit_code(night: Night) -> int:
    """3 if anything drifted, else 4 if anything could not be checked, else 0."""
    if night.with_severity(Severity.DRIFT):
        return DRIFTED
    return UNCHECKED if night.with_severity(Severity.UNCHECKED) else FINE


def headline(night: Night) -> str:
    """One line: how many are as accepted, drifted, unchecked."""
    counts = [
        f"{len(night.with_severity(None))} as accepted",
        f"{len(night.with_severity(Severity.DRIFT))} drifted",
        f"{len(night.with_severity(Severity.UNCHECKED))} could not be checked",
    ]
    resumed = f", {night.resumed} taken over from an interrupted night" if night.resumed else ""
    return (
        f"{night.name} of {night.started[:10]}: {_entries(len(night.checks))}, {', '.join(counts)}"
        f" ({night.seconds:.0f} s{resumed})"
    )


def text(night: Night) -> str:
    """The short report: the headline, then only what is not as it was."""
    lines = [headline(night)]
    if night.offline:
        lines.append("offline: no link was asked")
    for severity in (Severity.DRIFT, Severity.UNCHECKED):
        rows = _rows(night, severity)
        if rows:
            widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
            lines += ["", f"{severity}:"]
            lines += [f"  {e:<{widths[0]}}  {k:<{widths[1]}}  {t}" for e, k, t in rows]
    shared = notes(night)
    if shared:
        lines += ["", "changed around the numbers (no failure):"]
        lines += [f"  {told} ({_entries(count)})" for told, count in shared.items()]
    advice = _advice(night)
    return "\n".join([*lines, *([""] if advice else []), *advice])


def _advice(night: Night) -> list[str]:
    """What to type next, once for all entries."""
    kinds = {finding.kind for check in night.checks for finding in check.findings}
    lines = []
    if kinds & {"not measured", "missing data set"}:
        lines += [
            "A file that no link delivers: bench pull ID --from FILE. Data sets and where they are "
            "looked for: bench doctor"
        ]
    if night.with_severity(Severity.DRIFT) or "not comparable" in kinds:
        lines += [f"What changed and is right becomes the standard: {ACCEPT}"]
    return lines


def notes(night: Night) -> dict[str, int]:
    """What changed without being a failure -> for how many entries."""
    found: dict[str, int] = {}
    for check in night.checks:
        for finding in check.findings:
            if finding.severity is Severity.NOTE:
                told = f"{finding.kind}: {finding.text}"
                found[told] = found.get(told, 0) + 1
    return found


def junit(night: Night) -> str:
    """JUnit XML: drift is a failure, what could not be checked an error, notes are output."""
    drifted, unchecked = (len(night.with_severity(s)) for s in (Severity.DRIFT, Severity.UNCHECKED))
    totals = {
        "tests": str(len(night.checks)),
        "failures": str(drifted),
        "errors": str(unchecked),
        "skipped": "0",
        "time": f"{night.seconds:.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": "bench check", **totals})
    named = {"name": night.name, "timestamp": night.started.rstrip("Z")}
    suite = ElementTree.SubElement(root, "testsuite", {**named, **totals})
    for check in night.checks:
        _case(suite, night.name, check)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def markdown(night: Night) -> str:
    """For the summary of a job's page."""
    lines = [f"### {headline(night)}", ""]
    for severity in (Severity.DRIFT, Severity.UNCHECKED):
        rows = _rows(night, severity)
        if rows:
            lines += [f"**{severity}**", "", "| entry | what | detail |", "| --- | --- | --- |"]
            lines += [f"| `{e}` | {k} | {t.replace('|', chr(92) + '|')} |" for e, k, t in rows]
            lines.append("")
    shared = notes(night)
    if shared:
        lines += ["Changed around the numbers (no failure):", ""]
        lines += [f"- {told} ({_entries(count)})" for told, count in shared.items()]
        lines.append("")
    lines += _advice(night)
    return "\n".join(lines).rstrip() + "\n"


def document(night: Night) -> dict[str, Any]:
    """Everything, for --json."""
    return {
        "suite": night.name,
        "started": night.started,
        "seconds": night.seconds,
        "offline": night.offline,
        "exit_code": exit_code(night),
        "checks": [
            {**asdict(check), "status": check.severity or "as accepted"} for check in night.checks
        ],
    }


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _rows(night: Night, severity: Severity) -> list[tuple[str, str, str]]:
    """(entry, kind, text) of every finding of one severity."""
    return [
        (check.entry, finding.kind, " ".join(finding.text.split()))
        for check in night.checks
        for finding in check.findings
        if finding.severity is severity
    ]


def _case(suite: ElementTree.Element, name: str, check: Check) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname=name, name=check.entry, time=f"{check.seconds:.3f}"
    )
    for severity, tag in ((Severity.DRIFT, "failure"), (Severity.UNCHECKED, "error")):
        told = [finding for finding in check.findings if finding.severity is severity]
        # One of each at most: readers of JUnit files count elements, not findings.
        if told and (severity is check.severity):
            problem = ElementTree.SubElement(
                case, tag, type=told[0].kind, message=_printable(told[0].text)
            )
            problem.text = "\n".join(_printable(f"{f.kind}: {f.text}") for f in told)
    rest = [
        f"{f.kind} ({f.severity}): {f.text}" for f in check.findings if f.severity != check.severity
    ]
    if rest:
        output = ElementTree.SubElement(case, "system-out")
        output.text = "\n".join(map(_printable, rest))


def _printable(text: str) -> str:
    """`text` without the control characters that no XML may hold."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
