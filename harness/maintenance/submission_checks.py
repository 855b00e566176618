"""Whether a submitted folder says what it seems to say. Nothing in it is executed or followed."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from harness.checkpoints import pins
from harness.errors import BenchError
from harness.registry import Entry, Registry, entry_sha256, evaluation_sha256, recipe_sha256
from harness.results import Measured, Result, judge, load_stored, overall, predictions_sha256
from harness.system import sha256_file

SUMS = "SHA256SUMS"
LARGEST_BYTES = 64 * 1024**2  # of one file: answers of 50,000 images take 100 kB
_SUM = re.compile(r"([0-9a-f]{64})  (\S(?:.*\S)?)")
_HEADER_BYTES = 4096  # of an array in an .npz, beside two bytes per image


def problems_of(folder: Path, registry: Registry) -> list[str]:
    """Everything that is wrong with a submission, a sentence each; empty = nothing.

    Files: exactly those listed, with the listed sha256, no links. Results: whole, of an entry and
    a protocol of `registry` as they are today, with the pinned checkpoint, full, of committed code;
    an evaluation is judged anew from its counts, and its answers have the recorded sha256.
    """
    if not folder.is_dir():
        return [f"there is no folder {str(folder)!r}"]
    listed = list(_wrong_files(folder))
    if listed:
        return listed  # what the files say is nobody's word
    results = sorted(folder.glob("reports/results/*/*.json"))
    if not results:
        return ["it holds no result: reports/results/ENTRY/ID.json"]
    return [f"{file.stem}: {wrong}" for file in results for wrong in _wrong_result(file, registry)]


def _wrong_files(folder: Path) -> Iterator[str]:
    inside = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    for path in inside:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_file():
            yield f"{name!r} is no plain file"
        elif path.stat().st_size > LARGEST_BYTES:
            yield f"{name!r} has {path.stat().st_size} bytes, at most {LARGEST_BYTES} are taken"
    if (folder / SUMS) not in inside or (folder / SUMS).is_symlink():
        yield f"it has no {SUMS}"
        return
    text = (folder / SUMS).read_text(encoding="utf-8", errors="backslashreplace")
    lines = [_SUM.fullmatch(line) for line in text.splitlines()]
    if not all(lines):
        yield f"{SUMS} is not `sha256  file` line by line"
        return
    sums = {line[2]: line[1] for line in lines if line}
    there = {p.relative_to(folder).as_posix(): p for p in inside if p != folder / SUMS}
    for name in sorted(sums.keys() ^ there.keys()):
        yield f"{name!r} is {'listed and not there' if name in sums else 'there and not listed'}"
    for name in sorted(sums.keys() & there.keys()):
        if not there[name].is_symlink() and sha256_file(there[name]) != sums[name]:
            yield f"{name!r} is not the file that {SUMS} lists"


def _wrong_result(file: Path, registry: Registry) -> Iterator[str]:
    try:
        result = load_stored(file)
    except BenchError as error:
        yield str(error)
        return
    entry = registry.entries.get(registry.aliases.get(result.entry, result.entry))
    if entry is None or result.paper is None:
        yield f"{result.entry} is no entry of the registry; first: bench registry add"
        return
    yield from _wrong_identity(result, entry, registry)
    if result.smoke:
        yield f"it is a trial and no full measurement ({result.smoke})"
    if result.code.get("dirty"):
        yield "its code had changes that were not committed"
    yield from _wrong_judgement(result, entry)
    yield from _wrong_answers(file.with_suffix(".npz"), result)


def _wrong_identity(result: Result, entry: Entry, registry: Registry) -> Iterator[str]:
    evaluation = registry.evaluations.get(result.protocol.name)
    recipe = registry.recipes.get(result.recipe.name) if result.recipe else None
    if result.entry_sha256 != entry_sha256(entry):
        yield "the entry was another one when this was measured; measure it again"
    if evaluation is None or evaluation_sha256(evaluation) != result.protocol.sha256:
        yield f"its protocol {result.protocol.name} v{result.protocol.version} is not today's"
    overridden = bool(result.overrides)
    if (
        recipe
        and result.recipe
        and not overridden
        and recipe_sha256(recipe) != result.recipe.sha256
    ):
        yield f"its recipe {result.recipe.name} v{result.recipe.version} is not today's"
    pin = pins.pinned(entry.id)
    known = entry.checkpoint.sha256 if entry.checkpoint else None
    wanted = known or (pin.sha256 if pin else None)
    if result.checkpoint and result.mode == "evaluated" and wanted:
        if result.checkpoint.sha256 != wanted:
            yield f"its checkpoint is {result.checkpoint.sha256[:12]}, not {wanted[:12]}"


def _wrong_judgement(result: Result, entry: Entry) -> Iterator[str]:
    if result.mode == "evaluated" and result.data is not None:
        measured = Measured(
            counts=result.counts,
            cost=result.cost,
            n_total=result.data.n_total,
            approximate_images=result.data.approximate_images,
            smoke=result.smoke,
            evaluation=result.protocol.name,
            variants={each.protocol.name: each.counts for each in result.variants},
        )
        again = judge(entry, measured)
        for name in sorted(again.keys() | result.metrics.keys()):
            if again.get(name) != result.metrics.get(name):
                yield f"{name} does not follow from what was counted"
    elif result.runs and "top1_pct" in result.metrics:
        mean = sum(run.counts.top1_pct for run in result.runs) / len(result.runs)
        stated = result.metrics["top1_pct"].measured
        if stated is None or abs(stated - mean) > 1e-9:  # the same sum in another order
            yield "top1_pct is not the mean of its seeds"
    if overall(result.metrics, result.smoke) != result.verdict:
        yield "its verdict does not follow from its figures"


def _wrong_answers(file: Path, result: Result) -> Iterator[str]:
    if result.predictions_sha256 is None:
        return
    if not file.is_file():
        yield "its answers per image are missing"
        return
    import numpy as np

    try:
        with zipfile.ZipFile(file) as archive:  # a small file may unpack to a disk full
            size = sum(member.file_size for member in archive.infolist())
        if size > 2 * result.n_images + _HEADER_BYTES:
            raise ValueError(f"{size} bytes for {result.n_images} images")
        with np.load(file, allow_pickle=False) as arrays:
            found = predictions_sha256(arrays["predictions"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        yield f"its answers per image cannot be read ({type(error).__name__}: {error})"
        return
    if found != result.predictions_sha256:
        yield "its answers per image are not those that were recorded"
