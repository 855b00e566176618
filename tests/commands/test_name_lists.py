"""`bench list --models` and its siblings, and what the shell completes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from cli import main
from tests.commands.conftest import Bench, document


@pytest.mark.parametrize(
    ("kind", "word", "name", "about"),
    [
        ("methods", "mag", "magnitude", ""),
        ("datasets", "digits", "digits", "10 classes, 1x8x8"),
        ("recipes", "digits-short", "digits-short", "batch 64"),
        ("evaluations", "imagenet-224", "imagenet-224", "resize 256 (bilinear), crop 224"),
        ("models", "lenet300", "lenet300", "of this project"),
        ("models", "vit_tiny_patch16_224", "vit_tiny_patch16_224", "timm"),
        ("models", "resnet18", "timm/resnet18", "timm"),
    ],
)
def test_every_name_an_option_takes_is_listed(
    bench: Bench, kind: str, word: str, name: str, about: str
) -> None:
    rows = {
        row["name"]: row["about"] for row in document(bench("list", f"--{kind}", word, "--json"))
    }
    assert all(word in found for found in rows)
    assert about in rows[name]
    lines = bench("list", f"--{kind}", word).stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(rows)


def test_every_listed_recipe_of_a_method_trains(bench: Bench) -> None:
    names = [row["name"] for row in document(bench("list", "--recipes", "digits", "--json"))]
    assert names
    done = bench(
        *("train", "--method", "dense", "--model", "convnet_tiny", "--dataset", "digits"),
        *("--recipe", names[0], "--dry-run"),
    )
    assert done.exit_code == 0, done.stderr


def test_nothing_that_matches_is_said(bench: Bench) -> None:
    done = bench("list", "--methods", "no-such")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "bench list --methods" in done.stderr


@pytest.mark.parametrize(
    ("words", "typed", "expected"),
    [
        (["train", "--method"], "mag", "magnitude"),
        (["train", "--model"], "lenet", "lenet300"),
        (["prune", "--dataset"], "cifar", "cifar100"),
        (["train", "--recipe"], "digits", "digits-short"),
        (["eval", "--evaluation"], "imagenet-2", "imagenet-224"),
        (["list", "--paper"], "st", "str"),
        (["plot", "--model"], "resnet5", "resnet50"),
    ],
)
def test_the_shell_completes_names(words: list[str], typed: str, expected: str) -> None:
    found = [
        item.value for item in ShellComplete(main, {}, "bench", "_B").get_completions(words, typed)
    ]
    assert expected in found
    assert all(value.startswith(typed) for value in found)


def test_completing_names_imports_no_torch() -> None:
    code = (
        "import sys; from click.shell_completion import ShellComplete; from cli import main;"
        "c = ShellComplete(main, {}, 'bench', '_B');"
        "[c.get_completions(['train', o], '') for o in ('--model', '--method', '--dataset')];"
        "sys.exit(len({'torch', 'timm'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
