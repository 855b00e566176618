"""Are the published files still there, and still the same bytes?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.checkpoints import is_link, label, pins, sniff
from harness.errors import CheckpointError, CheckpointUnavailable, NotACheckpoint
from harness.maintenance import link_check
from harness.maintenance.drift import Finding, drift, note, unchecked
from harness.registry import Checkpoint, Entry
from harness.results import Kind, Link, save_links
from harness.system import Progress, sha256_file

REFETCHED_BYTES = 16 * 1024**2  # larger files are not fetched at every check


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """What may be asked of the hosts."""

    offline: bool = False
    refetch_all: bool = False  # whatever the size
    limits: link_check.RateLimits = link_check.RateLimits()


def ask_hosts(entries: Iterable[Entry], policy: LinkPolicy, progress: Progress) -> dict[str, Link]:
    """The answer of every link that an entry's checkpoint has; kept for the site, too."""
    if policy.offline:
        return {}
    wanted: dict[str, Kind] = {
        source: "file"
        for entry in entries
        for source in (entry.checkpoint.sources if entry.checkpoint else ())
        if is_link(source)
    }
    if not wanted:
        return {}
    answers = link_check.probe_links(wanted, policy.limits, progress)
    save_links(answers)
    return answers


def findings(
    entry: Entry, answers: Mapping[str, Link], policy: LinkPolicy, accepted_sha256: str | None
) -> list[Finding]:
    """What is wrong with the links of `entry`.

    A file that is small enough is fetched again: only its hash says that it is still the same.
    """
    found: list[Finding] = []
    checkpoint = entry.checkpoint
    for source in checkpoint.sources if checkpoint else ():
        answer = answers.get(source)
        if checkpoint is None or answer is None:
            continue
        if answer.ok is None:
            found.append(unchecked("unreachable link", f"{source}: {answer.detail}"))
        elif not answer.ok:
            found.append(drift(_kind(answer), f"{source}: {answer.detail}"))
        elif _is_small(checkpoint) or policy.refetch_all:
            found += _refetched(entry, checkpoint, source, accepted_sha256)
        else:
            text = f"{label(source)}: alive, not fetched again (--refetch does)"
            found.append(note("large file", text))
    return found


def _kind(answer: Link) -> str:
    return "not a file" if answer.status in (200, 206) else "dead link"


def _is_small(checkpoint: Checkpoint) -> bool:
    return checkpoint.size_bytes is not None and checkpoint.size_bytes <= REFETCHED_BYTES


def _refetched(
    entry: Entry, checkpoint: Checkpoint, source: str, accepted_sha256: str | None
) -> list[Finding]:
    pin = pins.pinned(entry.id)
    expected = checkpoint.sha256 or (pin.sha256 if pin else None) or accepted_sha256
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        try:
            link_check.fetch_link(source, file)
            sniff(file)
        except CheckpointUnavailable as error:
            return [unchecked("unreachable link", f"{source}: {error}")]
        except NotACheckpoint as error:
            return [drift("not a file", f"{source}: {error}")]
        except CheckpointError as error:
            return [drift("changed checkpoint", f"{source}: {error}")]
        sha256 = sha256_file(file)
    if expected is None or sha256 == expected:
        return []
    text = f"{source}: sha256 {sha256[:16]}, expected {expected[:16]}"
    return [drift("changed checkpoint", text)]
