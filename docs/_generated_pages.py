"""Pages of the documentation that are made from the code, and pages that live elsewhere.

A hook of mkdocs (mkdocs.yml): commands from the command line itself, the registry's keys from the
typed schema, the Python API from docstrings, and results, errata and the like from their files.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import harness
from harness.registry import entries, recipes

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {  # page -> file of the repository
    "results.md": "reports/results.md",
    "published.md": "reports/published.md",
    "errata.md": "reports/errata.md",
    "macs.md": "reports/macs.md",
    "mnist.md": "reports/mnist.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
SCHEMA = (
    entries.Entry,
    entries.Published,
    entries.Checkpoint,
    entries.Paper,
    entries.Evaluation,
    recipes.Recipe,
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every page that has no file of its own in docs/."""
    made = {"commands.md": commands(), "api.md": api()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    for name, place in ELSEWHERE.items():
        text, linked = with_links((ROOT / place).read_text(encoding="utf-8"), Path(place))
        files.append(File.generated(config, name, content=text))
        for file in linked:
            kept = f"files/{file.as_posix()}"
            if files.get_file_from_path(kept) is None:
                files.append(File.generated(config, kept, abs_src_path=str(ROOT / file)))
    return files


def with_links(text: str, place: Path) -> tuple[str, list[Path]]:
    """`text` of the file `place` with links that hold in docs/, and the files that they need."""
    pages = {Path(file): name for name, file in ELSEWHERE.items()}
    needed: list[Path] = []

    def moved(found: re.Match[str]) -> str:
        target, _, anchor = found[1].partition("#")
        file = Path((ROOT / place.parent / target).resolve()).relative_to(ROOT)
        anchor = f"#{anchor}" if anchor else ""
        if file.parts[0] == "docs":
            return f"]({file.relative_to('docs').as_posix()}{anchor})"
        if file in pages:
            return f"]({pages[file]}{anchor})"
        if (ROOT / file).is_dir():
            file = file / "README.md"
        needed.append(file)
        return f"](files/{file.as_posix()})"

    return re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", moved, text), needed


def commands() -> str:
    """One section per verb, made by mkdocs-click from the command line itself."""
    return """# Commands

Every verb answers `--help` with an example; most print one JSON document by `--json`.

::: mkdocs-click
    :module: cli
    :command: main
    :prog_name: bench
    :depth: 1
    :style: plain
"""


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """The registry's page has its keys where it says so."""
    return markdown.replace("<!-- keys of the registry -->", schema())


def schema() -> str:
    """The keys of registry.yaml, from the dataclasses that check them."""
    blocks: list[str] = []
    for kind in SCHEMA:
        blocks.append(f"### {kind.__name__}\n\n{inspect.cleandoc(kind.__doc__ or '')}\n")
        blocks.append("| key | type | default | meaning |\n| --- | --- | --- | --- |")
        blocks += [
            f"| `{name}` | `{kind_of}` | {default} | {meaning} |"
            for name, kind_of, default, meaning in keys(kind)
        ]
        blocks.append("")
    return "\n".join(blocks)


def keys(kind: type) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and the comment beside each field of a dataclass, in order."""
    source = textwrap.dedent(inspect.getsource(kind))
    lines = source.splitlines()
    [body] = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    known = {field.name: field for field in dataclasses.fields(kind)}
    for node in body.body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        field = known[node.target.id]
        there = lines[node.lineno - 1 : node.end_lineno]
        said = [
            line.partition("#")[2].strip()
            for line in there
            if "  # " in line or line.strip().startswith("#")
        ]
        kind_of = ast.unparse(node.annotation)
        yield field.name, kind_of, _default(field), " ".join(said)


def _default(field: dataclasses.Field[object]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    return "empty" if field.default_factory is not dataclasses.MISSING else "required"


def api() -> str:
    """What `harness` offers, each with its docstring."""
    sections = "\n".join(f"::: harness.{name}\n" for name in harness.__all__)
    return f"""# Python API

`import harness` offers the following; [From Python](python.md) goes through it.

{sections}"""
