"""Shell completion: commands, options and ids."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from harness.registry import load
from tests.commands.conftest import Bench


def completed(*words: str) -> list[str]:
    """What the shell would offer for the last of `words`."""
    done = subprocess.run(
        [sys.executable, "-c", "from cli import main; main(prog_name='bench')"],
        env={
            **os.environ,
            "_BENCH_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(["bench", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_code(bench: Bench, shell: str) -> None:
    done = bench("completion", shell)
    assert done.exit_code == 0
    assert "_BENCH_COMPLETE" in done.stdout
    assert "bench" in done.stdout


def test_verbs_are_completed() -> None:
    assert completed("re") == ["reproduce", "report", "record", "registry"]


def test_ids_are_completed() -> None:
    assert completed("show", "acdc-resnet50-9") == [
        "acdc-resnet50-90",
        "acdc-resnet50-95",
        "acdc-resnet50-98",
        "acdc-resnet50-90-unif",
        "acdc-resnet50-95-unif",
        "acdc-resnet50-90-unif-2x",
        "acdc-resnet50-95-unif-2x",
    ]
    assert completed("reproduce", "str-resnet50-81") == ["str-resnet50-81"]


@pytest.mark.parametrize("verb", ["reproduce", "check"])
def test_suites_are_completed(verb: str) -> None:
    suites = completed(verb, "--suite", "")
    assert {"quickstart", "nightly", "imagenet"} < set(suites)
    assert {entry.paper for entry in load().entries.values()} < set(suites)
    assert completed(verb, "--suite", "ni") == ["nightly"]
