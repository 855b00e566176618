"""The project as a stranger has it: its wheel in an environment of its own, away from the clone."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What would change what a command reads, finds or folds: a terminal's width among them.
_OURS = ("PYTHONPATH", "BENCH_HOME", "BENCH_RECORD", "BENCH_DATA_ROOT", "COLUMNS")


def build_wheel(target: Path, source: Path = ROOT) -> Path:
    """The wheel of the project in `source`, below `target`."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    return wheel


def environment(folder: Path, packages: Iterable[Path]) -> Path:
    """The bin folder of a new environment with `packages` installed by pip.

    packages: wheels, or folders of projects. Their dependencies are those of this interpreter,
    since installing torch takes minutes; `.ci/wheel` installs them all.
    """
    venv.EnvBuilder(symlinks=True).create(folder)
    python = folder / "bin" / "python"
    where = sysconfig.get_path("purelib", "venv", {"base": str(folder)})
    # Of a path file that is found by way of another one Python reads nothing: no editable install.
    (Path(where) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([*pip, *offline, *map(str, packages)], check=True, capture_output=True)
    return python.parent


def run(
    bin: Path, folder: Path, *words: object, **variables: str
) -> subprocess.CompletedProcess[str]:
    """A command of the environment, in `folder`, whose home/ is the home unless said otherwise."""
    kept = {name: value for name, value in os.environ.items() if name not in _OURS}
    path = f"{bin}{os.pathsep}{os.environ['PATH']}"
    home = str(folder / "home")
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        env={**kept, "PATH": path, "BENCH_HOME": home, **variables},
        capture_output=True,
        text=True,
    )
