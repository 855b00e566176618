"""Output that nobody takes: one line, a documented exit code, nothing more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BENCH = "from cli import main; main(prog_name='bench')"
full = pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no /dev/full here")


def run(script: str) -> subprocess.CompletedProcess[str]:
    """`script` in bash, where `bench` is the command."""
    bench = f'bench() {{ "{sys.executable}" -c "{BENCH}" "$@"; }}\n'
    return subprocess.run(
        ["bash", "-c", bench + script], cwd=ROOT, capture_output=True, text=True, env=os.environ
    )


@full
@pytest.mark.parametrize("arguments", ["show dense-convnet-tiny-digits", "--help", "list --json"])
def test_a_full_output_is_one_line(home: Path, arguments: str) -> None:
    done = run(f"bench {arguments} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "bench: the output cannot be written: No space left on device\n"


def test_a_closed_output_is_one_line(home: Path) -> None:
    done = run("bench list --json | true; exit ${PIPESTATUS[0]}")
    assert done.returncode == 1
    assert done.stderr == "bench: the output was closed before its end\n"


@full
@pytest.mark.slow
def test_a_full_log_changes_nothing(home: Path) -> None:
    assert run("bench show no-such-entry 2> /dev/full").returncode == 2
    done = run("bench pull dense-convnet-tiny-digits 2> /dev/full")
    assert done.returncode == 0 and "safetensors" in done.stdout


def test_streams_that_were_never_opened_change_nothing(home: Path) -> None:
    assert run("bench show no-such-entry >&- 2>&-").returncode == 2
    assert run("bench show dense-convnet-tiny-digits >&-").returncode == 0
