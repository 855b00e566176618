"""Registry documents and stored results with pieces of nonsense in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness import registry
from harness.commands import in_one_line
from harness.errors import BenchError, RegistryError
from harness.registry import plain
from harness.results.store import as_json, load
from tests.campaigns.campaign import Trial, campaign
from tests.campaigns.nonsense import garbled_document, garbled_text, shortened
from tests.registry.test_errors import FAMILY, TABLE, TOP
from tests.support.command_line import odd_in
from tests.support.results import made, trained


@campaign(count=40_000, sample=150)
def fuzzed_registries(trial: Trial) -> Iterator[str]:
    """Registry files with words, lines and signs changed: read, or one line that begins with the
    file's name; every number that is read is finite.
    """
    file = trial.folder / "r.yaml"
    for _ in range(trial.count):
        text = garbled_text(trial.rng, TOP + trial.rng.choice((FAMILY, TABLE)))
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        told = _held(registry.load, file, RegistryError)
        yield told and f"{told} from {shortened(text)}"


@campaign(count=30_000, sample=150)
def fuzzed_results(trial: Trial) -> Iterator[str]:
    """Stored results and latency records with values or letters changed: read to something that can
    be stored again, or one line that names the file; every number that is read is finite.
    """
    kinds: list[tuple[Any, Callable[[Path], Any]]] = [
        (plain(made()), load),
        (plain(trained(entry="local-gmp")), load),
        (plain(made(approximate_images=20, published=None)), lambda file: load(file, layers=False)),
    ]
    file = trial.folder / "20261101T120000Z-00000001.json"
    for _ in range(trial.count):
        document, read = trial.rng.choice(kinds)
        if trial.rng.random() < 0.7:
            text = json.dumps(garbled_document(trial.rng, document), indent=1)
        else:
            text = garbled_text(trial.rng, json.dumps(document, indent=1, ensure_ascii=False))
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        told = _held(read, file, BenchError)
        yield told and f"{told} from {_difference(document, text)}"


def _held(read: Callable[[Path], Any], file: Path, error_type: type[BenchError]) -> str:
    """What is wrong with reading `file`; "" if it was read whole or refused in one line."""
    try:
        found = read(file)
    except error_type as error:
        fine = file.name in str(error) and not odd_in(in_one_line(str(error)))
        return "" if fine else f"no good line: {str(error)[:300]!r}"
    except Exception as error:  # what the campaign is after
        return f"{type(error).__name__}: {str(error)[:200]}"
    if read is registry.load:
        values = [plain(part) for part in (found.entries, found.evaluations, found.recipes)]
        return "" if _finite(values) else "a number that is not finite was read"
    try:
        as_json(found)
    except Exception as error:
        return f"read, but cannot be stored again: {type(error).__name__}: {error}"
    return ""


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return not isinstance(value, list | tuple) or all(map(_finite, value))


def _difference(document: Any, text: str) -> str:
    """The lines in which an input differs from what it was made of."""
    former = set(json.dumps(document, indent=1, ensure_ascii=False).split("\n"))
    return shortened("\n".join(line for line in text.split("\n") if line not in former))
