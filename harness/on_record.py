"""Whether an evaluation is on record already, so that a repeated command need not do it again."""

from __future__ import annotations

from typing import Any

from harness import provenance
from harness.registry import Entry, Evaluation, entry_sha256, evaluation_sha256
from harness.results import Result, load_all


def on_record(
    entry: Entry,
    evaluation: Evaluation,
    checkpoint_sha256: str,
    fingerprint: str,
    n: int,
    device: str,
    fast: bool,
) -> Result | None:
    """The newest stored result of the very same evaluation, or None.

    The same means: registry entry, protocol, checkpoint bytes, images and their number, commit,
    package versions, machine and device. Changes that are not committed are not told apart.
    fast: it must have a fast measurement as well.
    """
    wanted = {
        "mode": "evaluated",
        "entry_sha256": entry_sha256(entry),
        "protocol": evaluation_sha256(evaluation),
        "checkpoint": checkpoint_sha256,
        "fingerprint": fingerprint,
        "n": n,
        "precision": "float32",
        "versions": provenance.versions(),
        "code": provenance.code_version(),
        "hardware": provenance.hardware(device),
    }
    stored = sorted(load_all(entry=entry.id), key=lambda result: result.result_id, reverse=True)
    fitting = (result for result in stored if _conditions(result) == wanted)
    return next((result for result in fitting if result.fast or not fast), None)


def _conditions(result: Result) -> dict[str, Any]:
    return {
        "mode": result.mode,
        "entry_sha256": result.entry_sha256,
        "protocol": result.protocol.sha256,
        "checkpoint": result.checkpoint.sha256 if result.checkpoint else None,
        "fingerprint": result.data.fingerprint,
        "n": result.data.n,
        "precision": result.precision,
        "versions": result.versions,
        "code": result.code,
        "hardware": result.hardware,
    }
