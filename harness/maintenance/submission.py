"""A result measured elsewhere, as a folder for a pull request, and the checks that it must pass.

reports/results/ENTRY/ID.json ...   the result, its answers per image and its picture
protocol.json                       entry, evaluation and recipe as they were here
environment.json                    versions, machine and code
PULL_REQUEST.md                     the text
SHA256SUMS                          of every other file, as `sha256sum --check` reads it
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.errors import DataError, ProtocolError
from harness.maintenance.project_record import FIRST, files_named
from harness.maintenance.submission_checks import SUMS, problems_of
from harness.registry import Registry, plain
from harness.results import Result, load
from harness.system import sha256_file

TEXT = "PULL_REQUEST.md"


@dataclass(frozen=True, slots=True)
class Submission:
    """A bundle that passed its own checks. results: as they lie in it."""

    folder: Path
    results: tuple[Result, ...]

    @property
    def text(self) -> Path:
        """The text of the pull request."""
        return self.folder / TEXT


def make_submission(name: str, registry: Registry, out: Path) -> Submission:
    """Bundle results measured here in the new folder `out`.

    name: the id of a result; or an entry, whose results that count are meant. Raises DataError if
    nothing of that name was measured here, ProtocolError if `out` exists or what would be sent
    fails a check of `problems_of`; nothing is left then.
    """
    found = [file for file in files_named(name, registry.aliases) if file.parts[-3] == "results"]
    if not found:
        msg = f"{name}: no result of that name was measured here ({paths.results_folder()})"
        raise DataError(f"{msg}. Measure it first: bench reproduce {name}")
    if out.exists():
        raise ProtocolError(f"{out} exists already. Name another folder: --out FOLDER")
    results = [load(file) for file in found]
    out.mkdir(parents=True)
    try:
        _fill(out, found, results, registry)
        problems = problems_of(out, registry)
        if problems:
            raise ProtocolError(f"{name} cannot be submitted: {'; '.join(problems)}")
    except BaseException:
        shutil.rmtree(out)
        raise
    return Submission(out, tuple(results))


def _fill(out: Path, files: Iterable[Path], results: list[Result], registry: Registry) -> None:
    for file in files:
        place = out / "reports" / "results" / file.parent.name
        place.mkdir(parents=True, exist_ok=True)
        for part in file.parent.glob(f"{file.stem}*"):
            if part.suffix in (*FIRST, ".json"):
                shutil.copyfile(part, place / part.name)
    _write_json(out / "protocol.json", [_protocol(result, registry) for result in results])
    _write_json(out / "environment.json", [_environment(result) for result in results])
    (out / TEXT).write_text(_text(results, out), encoding="utf-8")
    lines = [f"{sha256_file(file)}  {file.relative_to(out).as_posix()}\n" for file in _files(out)]
    (out / SUMS).write_text("".join(lines), encoding="utf-8")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _protocol(result: Result, registry: Registry) -> Mapping[str, object]:
    entry = registry.entries.get(registry.aliases.get(result.entry, result.entry))
    evaluation = registry.evaluations.get(result.protocol.name)
    recipe = registry.recipes.get(result.recipe.name) if result.recipe else None
    return {
        "result_id": result.result_id,
        "entry": plain(entry) if entry else None,
        "evaluation": plain(evaluation) if evaluation else None,
        "recipe": plain(recipe) if recipe else None,
        "overrides": plain(result.overrides),
    }


def _environment(result: Result) -> Mapping[str, object]:
    return {
        "result_id": result.result_id,
        "versions": dict(result.versions),
        "hardware": dict(result.hardware),
        "code": dict(result.code),
        "batch_size": result.batch_size,
    }


def _text(results: list[Result], out: Path) -> str:
    """The text of the pull request: what was found, how, and how to check it."""
    names = ", ".join(dict.fromkeys(result.entry for result in results))
    blocks = [f"Results: {names}\n"]
    for result in results:
        blocks.append(_table(result))
    blocks.append(
        "The folder holds the results with their answers per image, the protocol and the "
        f"environment; `{SUMS}` has the sha256 of each file. To check all of it:\n\n"
        f"    bench submit --verify {out.name}\n\n"
        "To put it on record: copy its `reports/` over that of the clone, then "
        "`bench table --into reports/results.md`.\n"
    )
    return "\n".join(blocks)


def _table(result: Result) -> str:
    code, machine = result.code, result.hardware
    head = [
        f"## {result.entry}: {result.verdict.status}",
        "",
        f"{result.verdict.reason}. {result.mode}, {result.n_images} images of {result.dataset}, "
        f"protocol {result.protocol.name} v{result.protocol.version}.",
        "",
        "| figure | published | measured | difference | verdict |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for name, each in result.metrics.items():
        measured = "-" if each.measured is None else f"{each.measured:.6g}"
        delta = "-" if each.delta is None else f"{each.delta:+.4g}"
        head.append(f"| {name} | {each.published or '-'} | {measured} | {delta} | {each.status} |")
    digest = hashlib.sha256(json.dumps(plain(result), sort_keys=True).encode()).hexdigest()
    facts = {
        "result": f"{result.result_id} ({digest[:12]})",
        "checkpoint": result.checkpoint.sha256 if result.checkpoint else "trained here",
        "code": code.get("commit") or code.get("wheel") or "unknown",
        "torch": result.versions.get("torch", "unknown"),
        "machine": f"{machine.get('cpu')}, {machine.get('accelerator') or 'no accelerator'}",
    }
    return "\n".join([*head, "", *(f"- {name}: {value}" for name, value in facts.items()), ""])
