"""The documentation: its commands parse, run as typed, its examples work, its site builds."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch

import cli
from harness import registry
from methods.base import Schedule
from tests.support.installed import ROOT, run

END = "-- end of a command --"
PAGES = sorted((ROOT / "docs").glob("*.md"))
CONSOLE = re.compile(r"(?:<!-- needs: ([^>]+) -->\n)?```console\n(.*?)```", re.DOTALL)


def commands(page: Path, marked: bool) -> list[str]:
    """What a page says to type, in order; marked: also what needs more than a bare machine."""
    blocks = CONSOLE.findall(page.read_text(encoding="utf-8"))
    lines = [line for needs, text in blocks if marked or not needs for line in text.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def bench_words() -> Iterator[tuple[str, list[str]]]:
    """Every `bench` command of every page and of the README, as the shell splits it."""
    for page in [ROOT / "README.md", *PAGES]:
        text = page.read_text(encoding="utf-8")
        typed = re.findall(r"^(?:    )?\$ (?:\S*/)?(bench .+)$", text, re.MULTILINE)
        for line in typed:
            yield f"{page.name}: {line}", shlex.split(line)[1:]


@pytest.mark.parametrize("words", [pytest.param(w, id=i) for i, w in bench_words()])
def test_every_command_that_is_printed_is_understood(words: list[str]) -> None:
    group: click.Command = cli.main
    context = click.Context(group, info_name="bench")
    while isinstance(group, click.Group):
        if group.invoke_without_command and (not words or words[0].startswith("-")):
            break  # such as `bench runs --live`
        name, *words = words
        found = group.get_command(context, name)
        assert found is not None, f"no command {name}"
        group = found
    known = {word for option in group.params for word in (*option.opts, *option.secondary_opts)}
    typed = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
    assert typed <= known, f"no option {sorted(typed - known)}"
    choices = {
        word: option.type.choices
        for option in group.params
        if isinstance(option.type, click.Choice)
        for word in option.opts
    }
    for word, value in zip(words, words[1:], strict=False):
        if word in choices:
            assert set(value.split(",")) <= set(map(str, choices[word])), f"{word} {value}"


def typed(installed: Path, page: Path, folder: Path) -> list[tuple[str, str]]:
    """(command, its output) of everything unmarked that `page` says to type, its files written.

    In `folder`, with the wheel alone: what a stranger has.
    """
    text = page.read_text(encoding="utf-8")
    for name, content in re.findall(r"```python\n# (\S+\.py)\n(.*?)```", text, re.DOTALL):
        (folder / name).write_text(content)
    lines = commands(page, marked=False)
    script = "\n".join(f"{line}\necho '{END}'" for line in lines)
    nowhere = "http://127.0.0.1:9"  # nothing of these pages needs a network
    done = run(
        *(installed, folder, "bash", "-euc", script),
        COLUMNS="100",
        https_proxy=nowhere,
        http_proxy=nowhere,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    (folder / "stderr").write_text(done.stderr)
    return list(zip(lines, done.stdout.split(f"{END}\n"), strict=False))


def without_numbers(text: str) -> str:
    """`text` with every number as #: accuracies and times are those of another machine."""
    text = re.sub(r"\d[\d,.]*|–", "#", text).replace(" n.s.", "")
    return " ".join(text.split())


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if commands(p, False)], ids=lambda p: p.stem)
def test_every_command_of_a_page_works_as_typed(
    installed: Path, page: Path, tmp_path: Path
) -> None:
    outputs = typed(installed, page, tmp_path)
    if page.stem != "your-own":
        return
    said = (tmp_path / "stderr").read_text()
    assert "folder-shapes v1: 3 classes, 120 train and 30 val images" in said
    # 432 + 4,608 + 96 weights, of which 90 % go
    assert any("514 of 5,136 non-zero: 89.9922 % sparse" in output for _, output in outputs)
    (first,) = tmp_path.glob("home/runs/my-net-90/*/weights.safetensors")
    (again,) = tmp_path.glob("elsewhere/runs/my-net-90/*/weights.safetensors")
    assert first.read_bytes() == again.read_bytes()
    assert (tmp_path / "my-net-90.onnx").stat().st_size > 1000
    [table] = [output for line, output in outputs if line.endswith("--format latex")]
    assert re.search(r"my-net.*\\pm", table) and "my-net-80" in table and "my-net-90" in table
    for command, shown in printed_outputs(page):
        (output,) = [given for line, given in outputs if line == command]
        for line in shown:
            assert without_numbers(line) in without_numbers(output), command


def printed_outputs(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(command, the lines of output that the page prints below it); "..." is left out."""
    for _, block in CONSOLE.findall(page.read_text(encoding="utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *lines = part.splitlines()
            yield command, [line for line in lines if line.strip(" .")]


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    words = ["-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "commands.html").read_text(encoding="utf-8")
    assert all(
        f'id="bench-{verb}"' in page for verb in cli.main.list_commands(click.Context(cli.main))
    )
    keys = (tmp_path / "site" / "registry.html").read_text(encoding="utf-8")
    assert "prunable_exclude" in keys and "keys of the registry --" not in keys
    assert "harness.reproduce" in (tmp_path / "site" / "api.html").read_text(encoding="utf-8")


def _block(page: str, language: str, containing: str) -> str:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    blocks = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    [block] = [b for b in blocks if containing in b]
    return block


def test_the_example_entry_is_a_valid_registry(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(_block("registry.md", "yaml", "families:"))
    assert registry.load(extra=[file]).get("mine-resnet20-cifar10-90").published


def test_the_example_method_prunes_to_its_sparsity() -> None:
    namespace: dict[str, Any] = {}
    block = _block("your-method.md", "python", "class LeastMoved")
    exec(compile(block, "your-method.md", "exec", dont_inherit=True), namespace)
    kind = namespace["LeastMoved"]
    torch.manual_seed(0)
    model = torch.nn.Linear(20, 10, bias=False)
    method = kind(kind.Settings())
    method.attach(model, Schedule(epochs=2, steps_per_epoch=1))
    moved = torch.rand(10, 20)
    with torch.no_grad():
        model.weight += moved
    method.begin_epoch(0)
    method.begin_epoch(1)
    kept = model.weight != 0
    assert int(kept.sum()) == 20  # 10 % of 200
    assert moved[kept].min() > moved[~kept].max()
