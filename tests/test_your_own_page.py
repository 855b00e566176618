"""docs/your-own.md: its files are written as printed, its commands run as typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "your-own.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_every_command_of_the_page_works_as_typed(tmp_path: Path) -> None:
    for name, text in re.findall(r"```python\n# (\S+\.py)\n(.*?)```", PAGE, re.DOTALL):
        (tmp_path / name).write_text(text)
    commands = re.findall(r"^\$ (.+)$", PAGE, re.MULTILINE)
    assert len(commands) == 10
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, words in (("bench", "-c 'import cli; cli.main()'"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (tools / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-euc", "\n".join(commands)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "folder-shapes v1: 3 classes, 120 train and 30 val images" in done.stderr
    # 432 + 4,608 + 96 weights, of which 90 % go
    assert "514 of 5,136 non-zero: 89.9922 % sparse" in done.stdout
    assert (tmp_path / "my-net-90.onnx").stat().st_size > 1000
    table = done.stdout[done.stdout.index("\\begin{tabular}") :]
    assert re.search(r"my-net.*\\pm", table) and "my-net-80" in table and "my-net-90" in table
