"""Results of schema version 1 in the words of version 2. The stored files are never rewritten.

What version 1 said otherwise: changes of a recipe were text, "4ep (was 160ep, command line)"; how
many images were evaluated stood beside their identity as well as in the counts; times were without
quartiles; and a training by a protocol that is partly ours was "not reached" even where it was
better than printed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from harness.results.tolerances import better_than_printed
from harness.results.verdicts import Comparison, overall

_CHANGE = re.compile(r"(?P<value>.*) \(was (?P<was>.*), (?P<source>[^,]*)\)", re.DOTALL)


def upgraded(document: Mapping[str, Any]) -> dict[str, Any]:
    """A version 1 document as version 2. Raises KeyError, TypeError or ValueError if it is none."""
    new = {**document, "schema_version": 2}
    new["data"] = {key: value for key, value in document["data"].items() if key != "n"}
    stored = document.get("overrides", {})
    new["overrides"] = {key: _change(key, change) for key, change in stored.items()}
    if document.get("latency"):
        new["latency"] = latency_as_today(document["latency"])
    if document["verdict"]["status"] == "not reached":
        new |= _judged_again(document)
    return new


def _change(key: str, stored: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(stored, str):  # the last results of version 1
        return stored
    found = _CHANGE.fullmatch(stored)
    if found is None:
        raise ValueError(f"overrides.{key}: {stored!r} is no change of a recipe")
    value, was = (_value(found[name]) for name in ("value", "was"))
    return {"value": value, "was": was, "source": found["source"]}


def _value(text: str) -> object:
    """What `str` made `text` of: a number, a list, None, or text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def latency_as_today(latency: Mapping[str, Any]) -> dict[str, Any]:
    """A stored latency without the fields that only version 1 had."""
    n = latency["repeats"]
    ms = {
        way: {"n": n, **{name: value for name, value in times.items() if name != "iqr"}}
        for way, times in latency["ms"].items()
    }
    return {**latency, "ms": ms}


def _judged_again(document: Mapping[str, Any]) -> dict[str, Any]:
    metrics = {}
    for name, found in document["metrics"].items():
        status, delta, reason = found["status"], found["delta"], found["reason"]
        bounded = reason.startswith(("at least", "at most"))
        if status == "not reached" and not bounded and better_than_printed(name, None, delta):
            found = {**found, "status": "reached", "reason": f"better than printed: {reason}"}
        metrics[name] = found
    verdict = overall({name: Comparison(**found) for name, found in metrics.items()})
    return {"metrics": metrics, "verdict": {"status": verdict.status, "reason": verdict.reason}}
