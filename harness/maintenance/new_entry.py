"""A new entry as YAML: written into a file of its own, or added to one without touching the rest.

What is written is read back by the ordinary checks before it replaces anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from harness import paths, registry
from harness.errors import RegistryError
from harness.registry import (
    Checkpoint,
    Document,
    Entry,
    Paper,
    Published,
    Registry,
    plain_yaml,
)
from harness.system import replacing, sha256_file


@dataclass(frozen=True, slots=True)
class EntryDraft:
    """What a contributor answered. paper: a key of the registry, or a new one."""

    paper: str | Paper
    id: str
    method: str
    model: str
    dataset: str
    evaluation: str
    granularity: str = "unstructured"
    recipe: str | None = None
    baseline: str | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None
    published: Mapping[str, Published] = field(default_factory=dict)
    note: str = ""
    external_method: str = ""  # what the method is, if no registry knows it


def file_facts(path: Path, format: str) -> tuple[str, int]:
    """(sha256, size) of a checkpoint file. Raises NotACheckpoint if it is no file of `format`."""
    from harness.checkpoints import check_container

    check_container(path, format)
    return sha256_file(path), path.stat().st_size


def _require_fit(entry: Entry, path: Path) -> None:
    """Raises CheckpointError unless the file's tensors are those of the entry's network."""
    from harness.checkpoints import build_model, convert
    from harness.system import Reading

    assert entry.checkpoint is not None
    convert(path, build_model(entry).state_dict(), Reading(entry.checkpoint.format))


def save(
    draft: EntryDraft, target: Path, others: Iterable[Path] = (), file: Path | None = None
) -> Entry:
    """Write `draft` to `target`, new or existing, and return the entry as the registry reads it.

    others: further registry files of the user. file: the checkpoint, whose tensors must fit.
    Raises RegistryError or CheckpointError, with `target` as it was, if anything does not fit:
    schema, references, ids, a network that cannot be built, a file whose sections are written in
    one line, tensors of another network.
    """
    before = target.read_text(encoding="utf-8") if target.exists() else None
    text = _new_file(draft) if before is None else _extended(before, draft, str(target))
    with replacing(target) as part:
        part.write_text(text, encoding="utf-8")
        try:
            entry = _checked(draft, part, target, others)
            if file is not None:
                _require_fit(entry, file)
        except RegistryError as error:
            raise RegistryError(str(error).replace(str(part), str(target))) from error
    return entry


def _checked(draft: EntryDraft, part: Path, target: Path, others: Iterable[Path]) -> Entry:
    """The entry that `part`, in the place of `target`, adds; nothing else may have changed."""
    from harness.maintenance.recomputed_facts import recompute_models

    kept = [path for path in others if path.resolve() != target.resolve()]
    if target.resolve() == paths.registry_file().resolve():
        known, after = registry.load(extra=kept), registry.load(part, extra=kept)
    else:
        old = [target] if target.exists() else []
        known, after = registry.load(extra=[*kept, *old]), registry.load(extra=[*kept, part])
    changed = [id for id, entry in known.entries.items() if after.entries.get(id) != entry]
    if changed or after.entries.keys() - known.entries.keys() != {draft.id}:
        msg = f"{target}: adding {draft.id} would change {', '.join(changed) or 'other entries'}"
        raise RegistryError(f"{msg}. Write it into a file of its own")
    entry = after.get(draft.id)
    recompute_models(replace(after, entries={draft.id: entry}))
    return entry


def _new_file(draft: EntryDraft) -> str:
    sections = _sections(draft)
    head = "# Entries in the form of registry.yaml; use: bench list --registry FILE\nversion: 1\n"
    return head + "".join(f"\n{name}:\n{_indented(sections[name], 2)}" for name in sections)


def _extended(text: str, draft: EntryDraft, name: str) -> str:
    """`text` with the draft's sections at the end of its own; every other line stays."""
    document = plain_yaml.document(text, name)
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    # From the last section to the first, so that line numbers stay right.
    inserted = [(_end(document, section), section) for section in _sections(draft)]
    for line, section in sorted(inserted, reverse=True):
        content = _sections(draft)[section]
        known = document.root.get(section) is not None
        width = _indent(document, section) if known else 2
        addition = _indented(content, width)
        lines.insert(line, addition if known else f"\n{section}:\n{addition}")
    return "".join(lines)


def _end(document: Document, section: str) -> int:
    """Number of lines up to and with the last of `section`; of the whole file if there is none."""
    if document.root.get(section) is None:
        return len(document.lines)
    starts = document.starts()
    first = starts[section][0]
    later = [line for line, _ in starts.values() if line > first]
    end = min(later, default=len(document.lines) + 1) - 1
    while end > first and _is_margin(document.lines[end - 1]):
        end -= 1
    return end


def _is_margin(line: str) -> bool:
    """A blank line or a comment at the left edge: it belongs to the section that follows."""
    return not line.strip() or line.startswith("#")


def _indent(document: Document, section: str) -> int:
    """Spaces before the keys or dashes of a section. Raises RegistryError if it is in one line."""
    value = document.root[section]
    key_line, _ = document.locate((section,), on_key=True)
    assert isinstance(value, dict | list)
    first = next(iter(value), None) if isinstance(value, dict) else 0
    line, column = document.locate((section, first), on_key=True)
    if not value or line == key_line:
        msg = f"`{section}` is written in one line; put its items on lines of their own"
        raise document.error((section,), msg)
    text = document.lines[line - 1]
    return len(text) - len(text.lstrip()) if isinstance(value, list) else column - 1


class _Text(str):
    """Text that stays text when it is read again."""


class _Dumper(yaml.SafeDumper):
    """Plain YAML, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, value: _Text) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style='"')


_Dumper.add_representer(_Text, _represent_text)


def _indented(content: object, width: int) -> str:
    text = yaml.dump(
        _as_text(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000
    )
    return "".join(" " * width + line for line in text.splitlines(keepends=True))


def _as_text(value: object) -> object:
    """`value` with every text quoted that our reader would take for a number or a word."""
    if isinstance(value, Mapping):
        return {key: _as_text(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_text(item) for item in value]
    return _Text(value) if isinstance(value, str) and _reads_otherwise(value) else value


def _reads_otherwise(text: str) -> bool:
    try:
        return not isinstance(plain_yaml.scalar(text), str)
    except ValueError:  # digits beyond any number
        return True


def _sections(draft: EntryDraft) -> dict[str, object]:
    """Section of the file -> what the draft adds to it."""
    sections: dict[str, object] = {}
    if isinstance(draft.paper, Paper):
        facts = asdict(draft.paper)
        del facts["own"]  # what others published
        sections["papers"] = {facts.pop("key"): facts}
    if draft.external_method:
        sections["external_methods"] = {draft.method: draft.external_method}
    sections["families"] = [_family(draft)]
    return sections


def _family(draft: EntryDraft) -> dict[str, object]:
    key = draft.paper.key if isinstance(draft.paper, Paper) else draft.paper
    shared = {
        "paper": key,
        "method": draft.method,
        "granularity": draft.granularity,
        "model": draft.model,
        "dataset": draft.dataset,
        "evaluation": draft.evaluation,
        "recipe": draft.recipe,
        "baseline": draft.baseline,
    }
    row: dict[str, object] = {"id": draft.id}
    if draft.settings:
        row["settings"] = dict(draft.settings)
    if draft.checkpoint is not None:
        row["checkpoint"] = _without_none(asdict(draft.checkpoint))
    if draft.published:
        row["published"] = {name: _cell(cell) for name, cell in draft.published.items()}
    if draft.note:
        row["note"] = draft.note
    return {**_without_none(shared), "rows": [row]}


def _cell(cell: Published) -> dict[str, object]:
    """A printed number with what is known about it; what is left at its default stays out."""
    return {key: value for key, value in asdict(cell).items() if value or key == "text"}


def _without_none(facts: Mapping[str, Any]) -> dict[str, object]:
    return {key: value for key, value in facts.items() if value is not None}


def suggested_id(method: str, model: str, dataset: str, settings: Mapping[str, object]) -> str:
    """An id in the usual form: method, model, data set unless it is ImageNet, level."""
    level = settings.get("sparsity")
    parts = [method, model.replace("_", "-").replace("/", "-")]
    if dataset != "imagenet":
        parts.append(dataset)
    if isinstance(level, int | float):
        parts.append(f"{100 * level:.4g}")
    return "-".join(parts).lower()


def evaluations_on(known: Registry, dataset: str) -> list[str]:
    """Names of the evaluations on `dataset`, the standard one first."""
    names = [name for name, e in known.evaluations.items() if e.dataset == dataset]
    standard = known.defaults.get(dataset)
    first = [standard.evaluation] if standard else []
    return list(dict.fromkeys([*first, *names]))
