"""The record: one JSON file per result, append-only, full provenance, no absolute path.

Layout below the results folder:  <entry id>/<UTC time>-<8 hex>.json  and, next to it, the per-image
predictions as <same name>.npz. A file is written once, under its final name, and never changed.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import paths
from harness.registry import (
    Entry,
    Evaluation,
    entry_sha256,
    evaluation_sha256,
    from_mapping,
    plain,
)
from harness.results.current import NO_ALIASES, names_of
from harness.results.result_files import (
    as_today,
    each_readable,
    files,
    require_place,
    unreadable,
)
from harness.results.schema import Result
from harness.system import locked, provenance, publish, read_json

if TYPE_CHECKING:
    import numpy as np


def new_id(now: datetime | None = None) -> tuple[str, str]:
    """(result id, creation time): ids sort by time to the microsecond and never coincide."""
    moment = now or datetime.now(UTC)
    return (
        f"{moment:%Y%m%dT%H%M%S%fZ}-{secrets.token_hex(4)}",
        moment.isoformat(timespec="seconds").replace("+00:00", "Z"),
    )


def predictions_sha256(predictions: np.ndarray) -> str:
    """sha256 of per-image class indices (N,) as little-endian uint16, whatever their dtype."""
    return hashlib.sha256(predictions.astype("<u2").tobytes()).hexdigest()


def save(result: Result, predictions: np.ndarray | None = None, folder: Path | None = None) -> Path:
    """Write `result` (and predictions) under its final name; the path of the JSON file."""
    base = (folder or paths.results_folder()) / result.entry
    target = base / f"{result.result_id}.json"
    text = as_json(result)
    with locked(base.with_name(f".{result.entry}.lock")):
        for answers in base.glob("*.npz"):  # of a command that was killed before its JSON file
            if not answers.with_suffix(".json").exists():
                answers.unlink()
        if predictions is not None:
            _publish_predictions(predictions, target.with_suffix(".npz"))
        publish(target, lambda file: file.write(text.encode() + b"\n"))
    return target


def _publish_predictions(predictions: np.ndarray, target: Path) -> None:
    import numpy as np

    classes = predictions.astype(np.uint16)
    publish(target, lambda file: np.savez_compressed(file, predictions=classes))


def as_json(record: Any) -> str:
    """The text that is stored of a result or a latency record."""
    return json.dumps(plain(record), indent=1, ensure_ascii=False, allow_nan=False)


def load(file: Path, *, layers: bool = True) -> Result:
    """One result. Raises DamagedFile naming the file and the first wrong field.

    layers=False leaves the per-layer tables empty: a table of ten thousand results needs none.
    """
    try:
        data = file.read_bytes()
        document = as_today(read_json(data if layers else _without_layers(data)))
        return from_mapping(Result, document)
    except OSError as error:
        raise unreadable(file, str(error.strerror)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # Fault is a ValueError
        if not layers:  # not in the layout that `save` writes
            return load(file)
        problem = (
            str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        )
        raise unreadable(file, problem) from error


def load_stored(file: Path, *, layers: bool = True) -> Result:
    """Likewise, of a file in the store, which has to be where `save` put it."""
    result = load(file, layers=layers)
    require_place(file, result.entry, result.result_id)
    return result


def _without_layers(data: bytes) -> bytes:
    """`data` with its lists called `layers` emptied; they are most of the bytes.

    A JSON string holds no line break, so the first closing bracket that stands alone two levels
    deep ends the list.
    """
    start, kept = 0, []
    while (head := data.find(b'\n  "layers": [\n', start)) >= 0:
        tail = data.find(b"\n  ]", head)
        if tail < 0:
            break
        kept += [data[start:head], b'\n  "layers": [']
        start = tail + len(b"\n  ")
    return b"".join([*kept, data[start:]])


def load_all(
    folder: Path | None = None, entry: str | None = None, *, layers: bool = True
) -> Iterator[Result]:
    """Every stored result, or only those of one entry, oldest first; `layers` as in `load`.

    A file that is no result is named in a StateWarning and left out.
    """
    yield from each_readable(files(folder, entry), partial(load_stored, layers=layers))


def load_entry(
    name: str, aliases: Mapping[str, str] = NO_ALIASES, *, layers: bool = True
) -> list[Result]:
    """The results of one entry under today's id and its former ones, oldest first.

    aliases: former id -> today's, see `Registry.aliases`. layers: as in `load`.
    """
    stored = (r for each in names_of(name, aliases) for r in load_all(entry=each, layers=layers))
    return sorted(stored, key=lambda result: result.result_id)


def on_record(
    entry: Entry,
    evaluation: Evaluation,
    checkpoint_sha256: str,
    fingerprint: str | None,
    n: int,
    device: str,
    fast: bool,
) -> Result | None:
    """The newest stored result of the very same evaluation, or None.

    fingerprint: of the images; None, with n = 0, where the weights alone were counted.

    The same means: registry entry, protocol, checkpoint bytes, images and their number, commit,
    package versions, machine and device. Changes that are not committed are not told apart.
    fast: it must have a fast measurement as well.
    """
    wanted = {
        "mode": "counted" if fingerprint is None else "evaluated",
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
    former = dict.fromkeys(entry.aliases, entry.id)
    stored = reversed(load_entry(entry.id, former))
    fitting = (result for result in stored if _conditions(result) == wanted)
    return next((result for result in fitting if result.fast or not fast), None)


def _conditions(result: Result) -> dict[str, Any]:
    return {
        "mode": result.mode,
        "entry_sha256": result.entry_sha256,
        "protocol": result.protocol.sha256,
        "checkpoint": result.checkpoint.sha256 if result.checkpoint else None,
        "fingerprint": result.data.fingerprint if result.data else None,
        "n": result.n_images,
        "precision": result.precision,
        "versions": result.versions,
        "code": result.code,
        "hardware": result.hardware,
    }
