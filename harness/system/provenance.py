"""Facts that let somebody dispute a number: versions, hardware, code, hashes.

No host name, no absolute path: the machine is named by hardware facts and a hash of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from harness import paths

_PACKAGES = (
    "reprune",
    "torch",
    "torchvision",
    "timm",
    "fvcore",
    "numpy",
    "pillow",  # decodes pictures
    "safetensors",
    "scikit-learn",  # carries the digits
)


def sha256_json(value: Any) -> str:
    """sha256 of the canonical JSON text of `value` (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def versions(*more: str) -> dict[str, str]:
    """Installed version of every package that can move a number, of Python, and of `more`."""
    from importlib.metadata import PackageNotFoundError, version  # 17 ms of `bench show`

    found = {"python": platform.python_version()}
    for package in (*_PACKAGES, *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def broken_pair(error: BaseException) -> str | None:
    """One line if `error` comes from a torchvision that was built for another torch, else None."""
    # What torchvision raises then depends on who imports it first.
    traces = ("torchvision::nms", "partially initialized module 'torchvision'")
    if not any(trace in str(error) for trace in traces):
        return None
    found = versions()
    return (
        f"torchvision {found.get('torchvision')} was built for another torch than "
        f"{found.get('torch')}. Reinstall the pair: pip install -U torch torchvision"
    )


@cache
def code_version() -> dict[str, Any]:
    """Git commit and dirty flag: of the clone, or those that an installed wheel was built from.

    Of a wheel that was built without git, the hash of its list of files stands in their place.
    """
    if not paths.in_clone():
        return _built_from() or {"commit": None, "dirty": None, "wheel": _wheel_sha256()}
    root = paths.registry_file().parent
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != root.resolve():  # unpacked inside another repository
        return {"commit": None, "dirty": None}
    commit = _git(root, "rev-parse", "HEAD")
    # Results are written into the clone while it runs; they do not make the code dirty.
    changed = _git(root, "status", "--porcelain", "--", ".", ":!reports", ":!registry.lock")
    return {"commit": commit, "dirty": bool(changed) if commit else None}


def origin() -> str | None:
    """Address that the clone came from; None where there is none to name."""
    if not paths.in_clone():
        return None
    return _git(paths.registry_file().parent, "remote", "get-url", "origin")


def _built_from() -> dict[str, Any] | None:
    try:
        facts: dict[str, Any] = json.loads(paths.build_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {"commit": facts["commit"], "dirty": facts["dirty"]}


def _wheel_sha256() -> str | None:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        listed = distribution("reprune").read_text("RECORD")
    except PackageNotFoundError:
        return None
    return hashlib.sha256(listed.encode()).hexdigest() if listed else None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def hardware(device: str) -> dict[str, Any]:
    """The machine as facts and a hash; rows of different machines never share a ranking."""
    facts: dict[str, Any] = {
        "system": platform.system(),
        "arch": platform.machine(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "accelerator": _accelerator(device),
    }
    return {**facts, "machine": sha256_json(facts)[:12], "device": device, "threads": _threads()}


@cache
def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _memory_gib() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None


def _accelerator(device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    import torch

    return torch.cuda.get_device_name(torch.device(device))


def _threads() -> int:
    import torch

    return torch.get_num_threads()
