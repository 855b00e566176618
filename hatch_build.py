"""At build time: the commit that a wheel is made of, which its results name as their code."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILE = "build.json"  # at the root of a source archive, which has no git
PLACES = {"wheel": f"harness/shipped/{FILE}", "sdist": FILE}


class CommitHook(BuildHookInterface[Any]):
    """Adds {"commit": ..., "dirty": ...} to wheels and source archives, where git knows them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return  # runs in its clone
        root = Path(self.root)
        source = root / FILE
        if not source.is_file():
            facts = _facts(root)
            if facts is None:
                return
            source = Path(tempfile.mkdtemp()) / FILE
            source.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        build_data["force_include"][str(source)] = PLACES[self.target_name]


def _facts(root: Path) -> dict[str, object] | None:
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():  # unpacked in another repository
        return None
    changed = _git(root, "status", "--porcelain", "--", ".", ":!reports")
    return {"commit": _git(root, "rev-parse", "HEAD"), "dirty": bool(changed)}


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
